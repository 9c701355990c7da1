#!/usr/bin/env bash
# Runs docker-compose.yml with five workers, kills workers and Redis, and checks what the README promises: no worker's call
# fails, and one token costs one token request in its life.
#
#   make compose-check
#
# It takes five minutes and needs root, Debian (or Ubuntu), Go, and the package docker.io: apt-get install docker.io. It
# needs no public registry. It starts a Docker of its own, in a network and a folder of its own, so another Docker on the machine is
# not touched, and afterwards nothing is left. Where the machine has no "docker compose" it takes Debian's docker-compose of
# a newer suite into that folder; Redis comes from Debian's redis-server, and the worker from this repository.
#
#   COMPOSE_CHECK_PACKAGES   a folder that keeps the unpacked packages between runs. Default: none.
#
# Not the same as a public image: what is checked is the fleet, not redis:7 or the Dockerfile.
set -euo pipefail

case ${1:-} in
-h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
'') ;;
*) echo "compose-check: unexpected argument $1; see --help" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. internal/debian/unpack.sh

# What it needs.
trouble() { echo "compose-check: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || trouble "needs root, to start a Docker of its own: sudo make compose-check"
missing=()
for program in dockerd containerd runc iptables ip unshare setsid go tar; do
	command -v $program >/dev/null || [ -x /usr/sbin/$program ] || missing+=($program)
done
[ ${#missing[@]} = 0 ] || trouble "missing: ${missing[*]}. On Debian: apt-get install docker.io iptables iproute2 util-linux"
docker=docker
[ ! -x /usr/bin/docker ] || docker=/usr/bin/docker # Debian's, which fits its dockerd

dir=$(mktemp -d /var/tmp/msal-redis-compose.XXXXXX) # not /tmp, which may be a file system in memory: no place for layers
export DOCKER_HOST=unix://$dir/docker.sock DOCKER_CONFIG=$dir/config TMPDIR=$dir
began=$SECONDS
say() { printf '%4d s  %s\n' $((SECONDS - began)) "$*"; }

packages=${COMPOSE_CHECK_PACKAGES:-$dir/packages}
take() { # take PACKAGE SUITE...
	[ -e "$packages/$1/done" ] || { unpack "$1" "$packages/$1" "${@:2}" || trouble "$1: $reason"; }
	touch "$packages/$1/done"
}
pause() { # a signal that comes meanwhile is not kept waiting
	sleep "$1" &
	wait $!
}

dockerd=
cleanup() {
	status=$?
	trap '' INT TERM HUP
	trap - EXIT
	if [ -n "$dockerd" ] && kill -0 "$dockerd" 2>/dev/null; then
		[ $status = 0 ] || "${compose[@]}" logs --no-color --tail 5 2>/dev/null || true
		"${compose[@]}" down --timeout 2 --volumes >/dev/null 2>&1 || true
		kill "$dockerd" 2>/dev/null || true
		wait "$dockerd" 2>/dev/null || true
	fi
	rm -rf "$dir"
	[ $status = 0 ] || echo "compose-check: FAILED" >&2
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
compose=($docker compose --ansi never --progress quiet -f docker-compose.yml -f internal/composecheck/compose.yml)

# Docker's bridges and rules go with its network name space. Its own session: ctrl-C is this script's.
mkdir -p "$dir/config/cli-plugins"
setsid unshare --net --mount sh -c 'ip link set lo up && exec dockerd --host "$0" --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid"' \
	"$DOCKER_HOST" "$dir" >"$dir/dockerd.log" 2>&1 &
dockerd=$!
for _ in {1..60}; do
	$docker version >/dev/null 2>&1 && break
	kill -0 $dockerd 2>/dev/null || { tail -n 5 "$dir/dockerd.log" >&2; trouble "dockerd does not start here"; }
	sleep 0.5
done
$docker version --format "docker {{.Server.Version}}" || { tail -n 5 "$dir/dockerd.log" >&2; trouble "dockerd does not answer"; }
if ! $docker compose version >/dev/null 2>&1; then
	say "no docker compose here: taking Debian's"
	take docker-compose trixie forky sid
	cp "$(find "$packages/docker-compose/root" -path '*/cli-plugins/docker-compose')" "$dir/config/cli-plugins/"
fi
$docker compose version || trouble "this docker-compose does not run here"

say "making the images"
# shellcheck disable=SC1091
take redis-server "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" trixie
tar -C "$packages/redis-server/root" --exclude usr/share -c . | $docker import - msal-redis-check-redis >/dev/null
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$dir/image/worker" ./examples/worker
tar -C "$dir/image" -c . | $docker import --change 'ENTRYPOINT ["/worker"]' --change 'USER 65532' - msal-redis-check-worker >/dev/null

# What the fleet says. A worker's lines: "HOST/PID: 123 tokens taken, 4 token requests sent, 0 errors; ...".
# compose clears the line before each, also where there is no terminal.
logs() { "${compose[@]}" logs --no-color --no-log-prefix "$@" | sed 's/\x1b\[2K//'; }
emulator() { logs --tail 1 entra; }
requests() { emulator | sed 's/.* \([0-9]*\) token requests.*/\1/'; }
early() { emulator | sed 's/.* \([0-9]*\) too early.*/\1/'; }
# taken CONTAINER: tokens taken in the process's present life
taken() { $docker logs --tail 1 "$1" 2>/dev/null | sed -n 's/.* \([0-9]*\) tokens taken.*/\1/p'; }
running() { $docker ps -q --filter "label=com.docker.compose.service=$1"; }
until_() { # until_ SECONDS WHAT COMMAND...
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ $SECONDS -lt $end ] || trouble "not in time: $what"
		sleep 0.5
	done
}
count_is() { [ "$(running worker | wc -l)" = "$1" ]; }
all_take() { # every worker has taken tokens since it started
	local c n
	for c in $(running worker); do
		n=$(taken "$c")
		[ "${n:-0}" -gt 0 ] || return 1
	done
}
healthy() { [ "$($docker inspect -f '{{.State.Health.Status}}' "$1")" = healthy ]; }
restarted() { [ "$($docker inspect -f '{{.RestartCount}}' "$1")" -gt 0 ] && [ "$($docker inspect -f '{{.State.Running}}' "$1")" = true ]; }
# crash CONTAINER: its process dies as of a fault of its own, for "docker kill" is an order, after which nothing restarts it.
crash() { kill -KILL "$($docker inspect -f '{{.State.Pid}}' "$1")"; }
last=0
report() { # report WHAT BOUND: since the last report at most BOUND token requests came too early
	local e
	pause 2 # the lines of what has just happened
	e=$(early)
	say "$1: $(emulator)"
	[ $((e - last)) -le "$2" ] || { logs worker | grep -v "tokens taken" | sort | uniq -c | sort -rn | head -n 5 >&2; trouble "$((e - last)) token requests came too early, at most $2 may"; }
	last=$e
	# Of every life of every worker, the killed ones' last lines too.
	if logs worker | grep -E ' [1-9][0-9]* errors' >"$dir/errors"; then
		cat "$dir/errors" >&2
		trouble "calls failed"
	fi
}

workers=5 tenants=10
say "docker compose up --scale worker=$workers"
"${compose[@]}" up --detach --no-build --scale worker=$workers
until_ 60 "$workers workers take tokens" all_take
report "$workers workers, $tenants tokens" 0
[ "$(requests)" = $tenants ] || trouble "$(requests) token requests for $tenants tokens"
say "the tokens fall due twice"
pause 65
report "a minute later" 0

# The lease of one that dies in mid-request ends; another goes on, with one more request for that token.
victim=$(running worker | head -n 1)
say "docker kill of a worker, in $(taken "$victim") tokens"
$docker kill "$victim" >/dev/null
until_ 20 "four workers" count_is $((workers - 1))
pause 35
report "a worker was killed and stays away" $tenants
victim=$(running worker | head -n 1)
say "a worker crashes"
crash "$victim"
until_ 30 "the worker is restarted" restarted "$victim"
until_ 30 "the restarted worker takes tokens" all_take
report "a worker crashed and came back" $tenants

# While Redis is away each worker that needs a token asks for itself: at most one request for each worker and token.
redis=$(running redis)
say "Redis crashes"
crash "$redis"
until_ 30 "Redis is restarted" restarted "$redis"
until_ 30 "Redis is healthy" healthy "$redis"
pause 35
report "Redis crashed and came back empty" $(((workers - 2) * tenants))
say "docker kill of Redis, for 35 s"
$docker kill "$redis" >/dev/null
pause 35
report "no Redis" $((2 * workers * tenants))
$docker start "$redis" >/dev/null
until_ 30 "Redis is healthy" healthy "$redis"
pause 5
report "Redis is back" $((workers * tenants))
say "docker compose up --scale worker=$workers again"
"${compose[@]}" up --detach --no-build --no-recreate --scale worker=$workers
until_ 30 "$workers workers" count_is $workers
until_ 30 "all take tokens" all_take
pause 35
report "as before" 0

say "docker compose stop"
"${compose[@]}" stop --timeout 10
logs worker | grep -E 'tokens taken' | sort -t: -k1,1 -s | awk -F: '{last[$1] = $0} END {for (w in last) print last[w]}' | sort
emulator
if logs worker | grep -E ' [1-9][0-9]* errors'; then trouble "calls failed"; fi
say "passed"
