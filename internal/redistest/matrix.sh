#!/bin/sh
# Runs the end-to-end tests against other servers than the machine's own: Redis and Valkey of a newer Debian suite, and
# Redis 6.0, which Azure Cache for Redis is, of an older one. They are unpacked with all their libraries into a folder,
# where they run by their own loader. Nothing is installed, no root is needed. A server that cannot be had is skipped
# with a line that says so; if none can, that is exit status 2.
#
#   MATRIX_SERVERS  which. Default "redis6 redis valkey".
#   MATRIX_SUITES   Debian suites to take the newer servers from, the first that works. Default "trixie forky sid".
#   MATRIX_RUN      go test -run. Default: all end-to-end tests.
#   MATRIX_DIR      where servers are kept between runs. Default: a folder in the user's cache.
set -eu

suites=${MATRIX_SUITES:-trixie forky sid}
base=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/msal-redis-matrix}
. internal/debian/unpack.sh

skip() { echo "matrix: SKIPPED $1: $2"; skipped="$skipped $1"; }

# wrap DIR NAME PROGRAM: DIR/bin/NAME runs the program by its own loader.
wrap() {
	loader=$(find "$1/root" -name 'ld-linux*.so*' ! -type d | head -n 1)
	program=$(find "$1/root/usr/bin" -name "$3" | head -n 1)
	[ -n "$loader" ] && [ -n "$program" ] || return 1
	libraries=$(find "$1/root" -name '*.so*' ! -type d -exec dirname {} + | sort -u | tr '\n' ':')
	mkdir -p "$1/bin"
	printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$program" >"$1/bin/$2"
	chmod 755 "$1/bin/$2"
}

skipped='' failed='' ran=''
for what in ${MATRIX_SERVERS:-redis6 redis valkey}; do
	at=$base/$what server=$what-server from=$suites
	[ "$what" != redis6 ] || { server=redis-server; from=bullseye; }
	if [ ! -x "$at/bin/redis-sentinel" ]; then
		reason=''
		# shellcheck disable=SC2086 # a list
		unpack "$server" "$at" $from || { skip "$what" "$reason"; continue; }
		# redis-server may be a link to redis-check-rdb's binary, and sentinel is the server by another name.
		wrap "$at" redis-server "$server" && wrap "$at" redis-sentinel "$server" ||
			{ skip "$what" "no server in the package"; rm -rf "$at"; continue; }
	fi
	version=$("$at/bin/redis-server" --version) || { skip "$what" "it does not run here"; continue; }
	echo "matrix: $version"
	ran="$ran $what"
	PATH=$at/bin:$PATH go test -race -count=1 -timeout 30m -run "${MATRIX_RUN:-.}" ./tests/... || failed="$failed $what"
done
[ -z "$failed" ] || { echo "matrix: FAILED on$failed"; exit 1; }
[ -n "$ran" ] || { echo "matrix: NOT RUN: no server could be had"; exit 2; }
[ -n "$skipped" ] && echo "matrix: passed on$ran, but skipped$skipped" || echo "matrix: passed on all"
