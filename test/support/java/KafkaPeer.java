// Another program on the same Kafka: Apache's own client, and the SDK of CloudEvents.
//   produce BROKERS [CODEC]  writes what it reads on stdin, a record a line; one by one, or in large batches with a codec
//   consume BROKERS TOPIC N  prints the first N records of the topic, in order per partition
//   committed BROKERS TOPIC  prints what is committed in the topic, up to where it reaches now; waits for open transactions
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.message.MessageReader;
import io.cloudevents.kafka.KafkaMessageFactory;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class KafkaPeer {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    if (args[0].equals("produce")) produce(args[1], args.length > 2 ? args[2] : null);
    else if (args[0].equals("committed")) committed(args[1], args[2]);
    else consume(args[1], args[2], Integer.parseInt(args[3]));
  }

  private static void produce(String brokers, String codec) throws Exception {
    Map<String, Object> options =
        codec == null
            ? Map.of("bootstrap.servers", brokers, "linger.ms", 0)
            : Map.of("bootstrap.servers", brokers, "linger.ms", 200, "batch.size", 900_000, "compression.type", codec);
    List<Future<RecordMetadata>> sent = new ArrayList<>();
    var bytes = new ByteArraySerializer();
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (var producer = new KafkaProducer<byte[], byte[]>(options, bytes, bytes)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        JsonNode record = JSON.readTree(line);
        var made =
            new ProducerRecord<>(
                record.get("topic").asText(), bytesOf(record.get("key")), bytesOf(record.get("value")));
        for (JsonNode header : record.path("headers")) {
          made.headers().add(header.get(0).asText(), bytesOf(header.get(1)));
        }
        sent.add(producer.send(made));
        if (codec == null) sent.get(sent.size() - 1).get();
      }
      for (Future<RecordMetadata> one : sent) {
        RecordMetadata place = one.get();
        System.out.println(
            JSON.createObjectNode().put("partition", place.partition()).put("offset", place.offset()));
      }
    }
  }

  private static void consume(String brokers, String topic, int count) throws Exception {
    Map<String, Object> options =
        Map.of("bootstrap.servers", brokers, "isolation.level", "read_committed");
    var bytes = new ByteArrayDeserializer();
    try (var consumer = new KafkaConsumer<byte[], byte[]>(options, bytes, bytes)) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(topic).stream()
              .map(found -> new TopicPartition(topic, found.partition()))
              .collect(Collectors.toList());
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      for (int left = count; left > 0; ) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(250))) {
          if (left-- > 0) System.out.println(describe(record));
        }
      }
    }
  }

  private static void committed(String brokers, String topic) throws Exception {
    var bytes = new ByteArrayDeserializer();
    Map<TopicPartition, Long> ends;
    Map<String, Object> all = Map.of("bootstrap.servers", brokers);
    try (var consumer = new KafkaConsumer<byte[], byte[]>(all, bytes, bytes)) {
      ends =
          consumer.endOffsets(
              consumer.partitionsFor(topic).stream()
                  .map(found -> new TopicPartition(topic, found.partition()))
                  .collect(Collectors.toList()));
    }
    Map<String, Object> options =
        Map.of("bootstrap.servers", brokers, "isolation.level", "read_committed");
    try (var consumer = new KafkaConsumer<byte[], byte[]>(options, bytes, bytes)) {
      consumer.assign(ends.keySet());
      consumer.seekToBeginning(ends.keySet());
      while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(250))) {
          System.out.println(plain(record));
        }
      }
    }
  }

  private static ObjectNode describe(ConsumerRecord<byte[], byte[]> record) {
    ObjectNode told = plain(record);
    try {
      MessageReader reader = KafkaMessageFactory.createReader(record.headers(), record.value());
      CloudEvent event = reader.toEvent();
      ObjectNode seen = told.putObject("cloudEvent");
      seen.put("encoding", reader.getEncoding().toString());
      seen.put("specversion", event.getSpecVersion().toString());
      seen.put("id", event.getId()).put("type", event.getType());
      seen.put("source", event.getSource().toString());
      seen.put("time", event.getTime().toInstant().toEpochMilli());
      seen.put("datacontenttype", event.getDataContentType());
      for (String name : event.getExtensionNames()) seen.put(name, event.getExtension(name).toString());
    } catch (RuntimeException problem) {
      told.put("problem", problem.toString());
    }
    return told;
  }

  private static ObjectNode plain(ConsumerRecord<byte[], byte[]> record) {
    ObjectNode told = JSON.createObjectNode();
    told.put("partition", record.partition()).put("offset", record.offset());
    told.put("timestamp", record.timestamp());
    told.put("key", textOf(record.key())).put("value", textOf(record.value()));
    for (Header header : record.headers()) {
      told.withArray("headers").addArray().add(header.key()).add(textOf(header.value()));
    }
    return told;
  }

  private static byte[] bytesOf(JsonNode text) {
    return text == null || text.isNull() ? null : text.asText().getBytes(StandardCharsets.UTF_8);
  }

  private static String textOf(byte[] bytes) {
    return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
  }
}
