"""Write `kafka_jars.lock` again: for whoever moves to another version of Kafka. Needs the `dev` extra (jgo).

    python -m local.servers.relock

One coordinate is resolved, because several joined in one call resolved an older kafka-clients; the logging binding that
Kafka's own distribution adds is named beside it. Each jar is fetched to be hashed, and compared with the SHA-1 that the
repository publishes beside it.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from jgo.maven import MavenContext, Model

from local.servers.jars import KAFKA_VERSION, LOCK, download, repository_url

COORDINATE = ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION)
LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl")
"""The binding from slf4j 1.7, which Kafka logs through, to the log4j that comes with it; of the same version."""


def coordinates() -> list[tuple[str, str, str]]:
    """(group, artifact, version) of Kafka and everything it needs at run time."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), remote_repos={"central": repository_url()})
        group, artifact, version = COORDINATE
        model = Model(context.project(group, artifact).at_version(version).pom(), context)
        resolved, _ = model.dependencies()
        needed = [(d.groupId, d.artifactId, d.version) for d in resolved if d.scope in ("compile", "runtime")]
    log4j = next(version for _, artifact, version in needed if artifact == "log4j-core")
    return [COORDINATE, *sorted(needed), (*LOGGING, log4j)]


def line(group: str, artifact: str, version: str) -> str:
    """The line of the lock file for one jar."""
    path = f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"
    content = download(f"{repository_url()}/{path}")
    published = download(f"{repository_url()}/{path}.sha1").decode().split()[0]
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != published:
        raise SystemExit(f"{path}: not what the repository's own SHA-1 says")
    return f"{hashlib.sha256(content).hexdigest()}  {path}"


def main() -> None:
    """Resolve, hash, write."""
    lines = [line(*coordinate) for coordinate in coordinates()]
    header = (
        f"# Apache Kafka {KAFKA_VERSION} and what it needs. Written by: python -m local.servers.relock",
        "# SHA-256, path in a Maven repository",
    )
    LOCK.write_text("\n".join([*header, *lines]) + "\n", encoding="ascii")
    print(f"{LOCK}: {len(lines)} jars")


if __name__ == "__main__":
    main()
