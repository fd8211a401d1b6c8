package bench;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.CheckpointingMode;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.kafka.clients.producer.ProducerRecord;

/**
 * One rolling sum of amounts for each customer, on the heap, written out for each transaction in transactions that
 * end with a checkpoint. Arguments: bootstrap servers, input topic, output topic, group, milliseconds from one
 * checkpoint to the next, folder of checkpoints.
 */
public final class RollingSum {
  private RollingSum() {}

  public static void main(String[] arguments) throws Exception {
    Configuration settings = new Configuration();
    settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
    settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
    settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + arguments[5]);
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, settings);
    environment.getConfig().enableObjectReuse();
    environment.enableCheckpointing(Long.parseLong(arguments[4]), CheckpointingMode.EXACTLY_ONCE);

    KafkaSource<Tuple2<String, Double>> source = KafkaSource.<Tuple2<String, Double>>builder()
        .setBootstrapServers(arguments[0])
        .setTopics(arguments[1])
        .setGroupId(arguments[3])
        .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
        .setDeserializer(new Reading())
        .build();
    Properties producer = new Properties();
    producer.setProperty("transaction.timeout.ms", "60000");
    KafkaSink<Tuple2<String, Double>> sink = KafkaSink.<Tuple2<String, Double>>builder()
        .setBootstrapServers(arguments[0])
        .setRecordSerializer(new Writing(arguments[2]))
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .setTransactionalIdPrefix(arguments[3] + "-" + System.currentTimeMillis())
        .setKafkaProducerConfig(producer)
        .build();
    environment.fromSource(source, WatermarkStrategy.noWatermarks(), "in")
        .keyBy(pair -> pair.f0, Types.STRING)
        .process(new Sum())
        .sinkTo(sink);
    environment.execute("rolling sum");
  }

  private static final class Reading implements KafkaRecordDeserializationSchema<Tuple2<String, Double>> {
    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, Double>> out) {
      out.collect(Tuple2.of(new String(record.key(), StandardCharsets.UTF_8), Amount.of(record.value())));
    }

    @Override
    public TypeInformation<Tuple2<String, Double>> getProducedType() {
      return TypeInformation.of(new TypeHint<Tuple2<String, Double>>() {});
    }
  }

  private static final class Sum extends KeyedProcessFunction<String, Tuple2<String, Double>, Tuple2<String, Double>> {
    private transient ValueState<Double> sum;

    @Override
    public void open(org.apache.flink.api.common.functions.OpenContext context) {
      sum = getRuntimeContext().getState(new ValueStateDescriptor<>("sum", Types.DOUBLE));
    }

    @Override
    public void processElement(Tuple2<String, Double> pair, Context context, Collector<Tuple2<String, Double>> out)
        throws Exception {
      Double before = sum.value();
      double after = (before == null ? 0.0 : before) + pair.f1;
      sum.update(after);
      out.collect(Tuple2.of(pair.f0, after));
    }
  }

  private static final class Writing implements KafkaRecordSerializationSchema<Tuple2<String, Double>> {
    private final String topic;

    private Writing(String topic) {
      this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(
        Tuple2<String, Double> pair, KafkaSinkContext context, Long timestamp) {
      byte[] value = ByteBuffer.allocate(Double.BYTES).putDouble(pair.f1).array();
      return new ProducerRecord<>(topic, pair.f0.getBytes(StandardCharsets.UTF_8), value);
    }
  }
}
