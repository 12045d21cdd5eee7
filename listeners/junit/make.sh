#!/usr/bin/env bash
# Makes listeners/testwire-junit.jar of TestwireListener.java: bash listeners/junit/make.sh (a JDK from 9 to 19, Maven).
# The jar is the same, byte for byte, for the same compiler.
set -euo pipefail
cd "$(dirname "$0")"
launcher=org.junit.platform:junit-platform-launcher:1.9.3
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
for part in launcher engine; do
    mvn -q -B dependency:get -Dartifact="${launcher/launcher/$part}" -Dtransitive=false
    mvn -q -B dependency:copy -Dartifact="${launcher/launcher/$part}" -DoutputDirectory="$made"
done
javac --release 8 -Xlint:-options -Xlint:-classfile -nowarn -g:none -cp "$made/*" -d "$made/classes" TestwireListener.java
mkdir -p "$made/classes/META-INF/services"
echo testwire.TestwireListener >"$made/classes/META-INF/services/org.junit.platform.launcher.TestExecutionListener"
find "$made/classes" -exec touch -d 2020-01-01T00:00:00Z {} +
(cd "$made/classes" && find . -type f | sort | TZ=UTC zip -q -X -@ "$made/out.jar")
mv "$made/out.jar" ../testwire-junit.jar
