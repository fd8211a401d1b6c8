package bench;

import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * One sum of amounts for each customer, written out for each transaction, exactly once (v2) with its defaults.
 * Arguments: bootstrap servers, input topic, output topic, application id, "memory" or "rocksdb", folder of its state,
 * "total" (all that ever came, by hand) or "rolling" (the last 30 days, by the engine's own sliding windows, in RocksDB).
 */
public final class RollingSum {
  private static final String STORE = "sums";

  private RollingSum() {}

  public static void main(String[] arguments) {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[5]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 6000);

    Topology topology = arguments[6].equals("rolling")
        ? rolling(arguments[1], arguments[2]) : total(arguments[1], arguments[2], arguments[4].equals("memory"));
    KafkaStreams streams = new KafkaStreams(topology, settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }

  private static Topology total(String from, String to, boolean inMemory) {
    KeyValueBytesStoreSupplier kept = inMemory
        ? Stores.inMemoryKeyValueStore(STORE) : Stores.persistentKeyValueStore(STORE);
    Topology topology = new Topology();
    topology.addSource("in", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), from);
    topology.addProcessor("sum", Sum::new, "in");
    topology.addStateStore(Stores.keyValueStoreBuilder(kept, Serdes.ByteArray(), Serdes.Double()), "sum");
    topology.addSink("out", to, Serdes.ByteArray().serializer(), Serdes.Double().serializer(), "sum");
    return topology;
  }

  private static Topology rolling(String from, String to) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(from, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .mapValues(Amount::of)
        .groupByKey(Grouped.with(Serdes.ByteArray(), Serdes.Double()))
        .windowedBy(SlidingWindows.ofTimeDifferenceWithNoGrace(Duration.ofDays(30)))
        .reduce(Double::sum, Materialized.with(Serdes.ByteArray(), Serdes.Double()))
        .toStream((window, sum) -> window.key())
        .to(to, Produced.with(Serdes.ByteArray(), Serdes.Double()));
    return builder.build();
  }

  private static final class Sum implements Processor<byte[], byte[], byte[], Double> {
    private ProcessorContext<byte[], Double> context;
    private KeyValueStore<byte[], Double> sums;

    @Override
    public void init(ProcessorContext<byte[], Double> given) {
      context = given;
      sums = given.getStateStore(STORE);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      Double before = sums.get(record.key());
      Double after = (before == null ? 0.0 : before) + Amount.of(record.value());
      sums.put(record.key(), after);
      context.forward(record.withValue(after));
    }
  }
}
