"""A Kafka client by librdkafka: `topic BROKER TOPIC [KEY=VALUE...]` makes a topic with these settings, `read BROKER TOPIC COUNT
[KEY=VALUE...]` prints so many messages, one a line: partition, key and value, with tabs between them. Settings of the client
(`security.`, `sasl.`, `ssl.`) may stand among the others."""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def settings(words):
    return dict(word.split("=", 1) for word in words)


def topic(broker, name, *words):
    config = settings(words)
    client = {key: config.pop(key) for key in list(config) if key.startswith(("security.", "sasl.", "ssl."))}
    admin = AdminClient({"bootstrap.servers": broker, **client})
    partitions = int(config.pop("partitions", "3"))
    for made in admin.create_topics([NewTopic(name, num_partitions=partitions, config=config)]).values():
        made.result(10)
    print("all is well")


def read(broker, name, count, *words):
    """Prints records until `count` have arrived, or none has for three seconds."""
    config = {
        "bootstrap.servers": broker,
        "group.id": f"reader-{time.time_ns()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        **settings(words),
    }
    consumer = Consumer(config)
    # The broker of the tests has no consumer groups.
    partitions = consumer.list_topics(name, 10).topics[name].partitions
    consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING) for partition in partitions])
    lines, last, patience = [], time.monotonic(), 10
    while len(lines) < int(count) and time.monotonic() < last + patience:
        for message in consumer.consume(1000, 0.2):
            if message.error():
                print(message.error(), file=sys.stderr)
                continue
            lines.append(f"{message.partition()}\t{message.key().decode()}\t{message.value().decode()}")
            last, patience = time.monotonic(), 3
    consumer.close()
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    {"topic": topic, "read": read}[sys.argv[1]](*sys.argv[2:])
