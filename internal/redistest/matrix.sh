#!/bin/sh
# Runs the end-to-end tests against newer servers than the machine's own: Redis and Valkey of a newer Debian suite,
# unpacked with all their libraries into a folder, where they run by their own loader. Nothing is installed, no root is
# needed. A server that cannot be had is skipped with a line that says so.
#
#   MATRIX_SUITES   Debian suites to take servers from, the first that works. Default "trixie forky sid".
#   MATRIX_RUN      go test -run. Default: the topologies and what depends on the server's behaviour.
#   MATRIX_DIR      where servers are kept between runs. Default: a folder in the user's cache.
set -eu

suites=${MATRIX_SUITES:-trixie forky sid}
run=${MATRIX_RUN:-'^(TestEveryTopology|TestSentinelFailoverTokensGoOn|TestACLRule.*|TestLostScripts.*|TestRedis.*|TestKeyOfAnotherType.*|TestHostile.*)$'}
base=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/msal-redis-matrix}

skip() { echo "matrix: SKIPPED $1: $2"; skipped="$skipped $1"; }

# fetch PACKAGE DIR: the package and all it needs, of the first suite that has it, unpacked into DIR/root.
fetch() {
	command -v apt-get >/dev/null && command -v dpkg >/dev/null || { reason="it takes apt-get and dpkg"; return 1; }
	# The mirror that this machine already uses.
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 2>/dev/null | sort -u | head -n 1)
	[ -n "$mirror" ] || { reason="this machine uses no Debian mirror"; return 1; }
	for suite in $suites; do
		rm -rf "$2" && mkdir -p "$2/lists/partial" "$2/cache/archives/partial" "$2/root" "$2/parts"
		: >"$2/status" # an empty machine: apt takes every library, the C library included
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$2/sources.list"
		set -- "$1" "$2" -qq -o APT::Sandbox::User= -o Dir::Etc::SourceList="$2/sources.list" -o Dir::Etc::SourceParts="$2/parts" \
			-o Dir::State::Lists="$2/lists" -o Dir::State::Status="$2/status" -o Dir::Cache="$2/cache" \
			-o Debug::NoLocking=1 -o APT::Install-Recommends=0 -o Acquire::Languages=none
		package=$1 dir=$2
		shift 2
		if apt-get "$@" update >"$dir/log" 2>&1 && apt-get "$@" -y --download-only install "$package" >>"$dir/log" 2>&1; then
			for deb in "$dir"/cache/archives/*.deb; do dpkg -x "$deb" "$dir/root"; done
			rm -rf "$dir/lists" "$dir/cache"
			return 0
		fi
		set -- "$package" "$dir"
	done
	reason="none of $suites can be reached, or has it: $(tail -n 1 "$2/log" 2>/dev/null || true)"
	return 1
}

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

skipped='' failed=''
for what in redis valkey; do
	dir=$base/$what
	if [ ! -x "$dir/bin/redis-sentinel" ]; then
		reason=''
		fetch "$what-server" "$dir" || { skip "$what" "$reason"; continue; }
		# redis-server may be a link to redis-check-rdb's binary, and sentinel is the server by another name.
		wrap "$dir" redis-server "$what-server" && wrap "$dir" redis-sentinel "$what-server" ||
			{ skip "$what" "no server in the package"; rm -rf "$dir"; continue; }
	fi
	version=$("$dir/bin/redis-server" --version) || { skip "$what" "it does not run here"; continue; }
	echo "matrix: $version"
	PATH=$dir/bin:$PATH go test -count=1 -timeout 20m -run "$run" . || failed="$failed $what"
done
[ -z "$failed" ] || { echo "matrix: FAILED on$failed"; exit 1; }
[ -n "$skipped" ] && echo "matrix: passed, but skipped$skipped" || echo "matrix: passed on all"
