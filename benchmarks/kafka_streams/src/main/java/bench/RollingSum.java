package bench;

import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * One rolling sum of amounts for each customer, written out for each transaction, exactly once (v2) with its defaults.
 * Arguments: bootstrap servers, input topic, output topic, application id, "memory" or "rocksdb", folder of its state.
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

    KeyValueBytesStoreSupplier kept = arguments[4].equals("memory")
        ? Stores.inMemoryKeyValueStore(STORE) : Stores.persistentKeyValueStore(STORE);
    Topology topology = new Topology();
    topology.addSource("in", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), arguments[1]);
    topology.addProcessor("sum", Sum::new, "in");
    topology.addStateStore(Stores.keyValueStoreBuilder(kept, Serdes.ByteArray(), Serdes.Double()), "sum");
    topology.addSink("out", arguments[2], Serdes.ByteArray().serializer(), Serdes.Double().serializer(), "sum");

    KafkaStreams streams = new KafkaStreams(topology, settings);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
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
