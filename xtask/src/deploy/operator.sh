#!/bin/sh
# What an operator does with the package, on a host that just booted: install, look, kill, reload, upgrade, roll
# back, purge; and whether what is promised held. Each step that did is a line; the first that did not, the end.
#
# The host's one interface leads to a namespace in which an address of the built-in list `dprk` is. It refuses
# every connection: an attempt is one packet out and one in, so that the counts are known to the packet.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C TERM=dumb MANPAGER=cat

URL=http://127.0.0.1:9750
WATCHED=175.45.176.9
ATTEMPTS='poolwatch_connections_total{watchlist="dprk",target="star-kp",initiator="local",transport="tcp"}'
OUT='poolwatch_packets_total{watchlist="dprk",target="star-kp",direction="egress",transport="tcp"}'
IN='poolwatch_packets_total{watchlist="dprk",target="star-kp",direction="ingress",transport="tcp"}'
sent=0

say() { echo "deploy: $*"; }
fail() {
    say "FAILED: $*"
    systemctl --no-pager --full status poolwatch.service run-poolwatch-bpf.mount || true
    journalctl --no-pager -n 60 -u poolwatch.service || true
    exit 1
}
# At most $1 seconds until the rest, a command, succeeds.
await() {
    left=$(($1 * 5))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "in vain: $*"
        sleep 0.2
    done
}
uptime_ms() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
answers() { curl -fsS -o /dev/null --max-time 5 "$URL/$1" 2>/dev/null; }
value() { curl -fsS --max-time 5 "$URL/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
attempt() {
    number=0
    while [ "$number" -lt "$1" ]; do
        code=0
        curl -s --max-time 10 "http://$WATCHED/" || code=$?
        [ "$code" -eq 7 ] || fail "an attempt was not refused: curl said $code"
        number=$((number + 1))
    done
    sent=$((sent + $1))
}
counted() {
    for series in "$ATTEMPTS" "$OUT" "$IN"; do
        found=$(value "$series")
        [ "$found" = "$sent" ] || fail "$series is ${found:-not there}, and $sent were sent"
    done
}
main_pid() { systemctl show --value -p MainPID poolwatch.service; }
another_pid() { [ "$(main_pid)" != 0 ] && [ "$(main_pid)" != "$1" ]; }
programs() { bpftool prog show | grep -c 'name poolwatch' || true; }
# A container shares them with everybody else on the kernel.
others=$(programs)

ip netns add far
ip link add eth0 type veth peer name eth0 netns far
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip -n far address add 192.0.2.2/24 dev eth0
ip -n far address add "$WATCHED/32" dev lo
ip -n far link set eth0 up
ip -n far link set lo up
ip route add default via 192.0.2.2
say "systemd $(systemctl --version | awk 'NR == 1 { print $2 }') on Linux $(uname -r)"

# Whoever scrapes does not wait for apt, which goes on to rebuild the index of man pages.
first_scrape() {
    await 120 answers metrics
    uptime_ms >/tmp/scraped
}
begin=$(uptime_ms)
first_scrape &
scraper=$!
apt-get install -y -qq /deploy/poolwatch.deb </dev/null
installed=$(($(uptime_ms) - begin))
wait "$scraper" || exit 1
say "to the first scrape: $(($(cat /tmp/scraped) - begin)) ms; apt install: $installed ms"

systemctl is-active --quiet poolwatch.service || fail "it is not active"
systemctl is-enabled --quiet poolwatch.service || fail "it is not enabled"
await 20 answers readyz
pid=$(main_pid)
user=$(ps -o user= -p "$pid")
[ "$user" = poolwat+ ] || [ "$user" = poolwatch ] || fail "it runs as $user"
# CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF: bits 12, 38 and 39.
capabilities=$(awk '$1 == "CapEff:" { print $2 }' "/proc/$pid/status")
[ "$capabilities" = 000000c000001000 ] || fail "its capabilities are $capabilities"
say "active as user poolwatch with three capabilities: $(systemctl show --value -p StatusText poolwatch.service)"
poolwatch status | head -n 2
poolwatch check >/dev/null || fail "the packaged config does not hold"
for page in poolwatch poolwatch-run poolwatch-status; do
    man -w "$page" >/dev/null || fail "no man page $page"
done
[ -s /usr/share/bash-completion/completions/poolwatch ] || fail "no completions"
for file in docs/runbook.md prometheus/poolwatch.rules.yml grafana/poolwatch.json; do
    [ -s "/usr/share/poolwatch/$file" ] || fail "no $file"
done
say "man pages, completions, rules, dashboard and runbook are there"

poolwatch test-alert >/dev/null || fail "no test alert"
[ "$(value 'poolwatch_mining_sessions{watchlist="test-alert",target="test-alert",role="miner"}')" = 1 ] ||
    fail "the test alert is not shown"
say "poolwatch test-alert shows one session"

attempt 10
counted
say "10 attempts counted to the packet"

kill -KILL "$pid"
attempt 5
await 60 another_pid "$pid"
await 60 answers readyz
counted
say "kill -9, 5 attempts without a daemon, back by itself: $sent counted"

cp /etc/poolwatch/poolwatch.toml /tmp/whole.toml
echo 'no_such_key = 1' >/etc/poolwatch/poolwatch.toml
if systemctl reload poolwatch.service 2>/dev/null; then fail "a broken config was taken"; fi
[ "$(systemctl is-active poolwatch.service)" = active ] || fail "a refused reload ended it"
cp /tmp/whole.toml /etc/poolwatch/poolwatch.toml
printf '\n[[watchlist]]\nname = "office"\nprefixes = ["198.51.100.0/24"]\n' >>/etc/poolwatch/poolwatch.toml
systemctl reload poolwatch.service
has_office() { curl -fsS "$URL/metrics" | grep -c '^poolwatch_target_info{watchlist="office"' >/dev/null; }
await 20 has_office
counted
say "a broken config is refused before the daemon hears of it; a whole one is reloaded"

has_remedy() { journalctl --no-pager -u poolwatch.service | grep 'the service wants pins = "/run/poolwatch/bpf/pins" in' >/dev/null; }

# The password is "secret".
cat >/etc/poolwatch/web.yml <<'EOF'
basic_auth_users:
  prometheus: $2y$06$MtK7lfG6t/4j3jecptHcHu1Nu3Cr8r2Vmik.l82XTzqVP4RNXEWgS
EOF
chmod 600 /etc/poolwatch/web.yml
cp /etc/poolwatch/poolwatch.toml /tmp/open.toml
sed -i 's/^web_config = ""/web_config = "web.yml"/' /etc/poolwatch/poolwatch.toml
if systemctl reload poolwatch.service 2>/dev/null; then fail "a web config that its user may not read was taken"; fi
chgrp poolwatch /etc/poolwatch/web.yml
chmod 640 /etc/poolwatch/web.yml
systemctl reload poolwatch.service
asks() { [ "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "$URL/metrics")" = 401 ]; }
await 20 asks
curl -fsS -o /dev/null --max-time 20 -u prometheus:secret "$URL/metrics" || fail "the right password is refused"
echo secret >/tmp/password
poolwatch status --username prometheus --password-file /tmp/password >/dev/null || fail "status cannot ask"
# Neither a config that is gone nor one without the web config opens it, but a start.
reloaded() {
    [ "$(curl -fsS -u prometheus:secret "$URL/metrics" | awk '/^poolwatch_config_last_reload_successful / { print $2 }')" = "$1" ]
}
for config in /dev/null /tmp/open.toml; do
    cp "$config" /etc/poolwatch/poolwatch.toml
    systemctl reload poolwatch.service
    await 20 reloaded 0
    asks || fail "a reload of $config opened it"
    sed 's/^web_config = ""/web_config = "web.yml"/' /tmp/open.toml >/etc/poolwatch/poolwatch.toml
    systemctl reload poolwatch.service
    await 20 reloaded 1
done
mv /etc/poolwatch/poolwatch.toml /tmp/away.toml
systemctl reload poolwatch.service
await 20 reloaded 0
journalctl --no-pager -u poolwatch.service | grep 'poolwatch.toml: it is gone' >/dev/null || fail "it is not told that its config is gone"
cp /tmp/open.toml /etc/poolwatch/poolwatch.toml
systemctl restart poolwatch.service
rm /etc/poolwatch/web.yml
await 60 answers metrics
counted
say "a web config that the service may not read is refused; one that it may asks for the password until a start"

: >/etc/poolwatch/poolwatch.toml
systemctl restart poolwatch.service 2>/dev/null && fail "it starts on pins that it may not make"
await 20 has_remedy
cp /tmp/open.toml /etc/poolwatch/poolwatch.toml
systemctl restart poolwatch.service
await 60 answers metrics
counted
say "a config without state.pins does not start, and the journal says what it lacks"

pid=$(main_pid)
kill -STOP "$pid"
attempt 5
await 120 another_pid "$pid"
await 60 answers readyz
counted
say "a daemon that hangs is ended by the watchdog, and comes back: $sent counted"

pid=$(main_pid)
apt-get install -y -qq -o Dpkg::Options::=--force-confold /deploy/poolwatch_next.deb </dev/null
attempt 5
await 60 answers readyz
another_pid "$pid" || fail "the upgrade did not start the daemon anew"
counted
await 20 has_office
say "upgraded to $(dpkg-query -W -f '${Version}' poolwatch), whose counters lie elsewhere: $sent counted"

pid=$(main_pid)
cp /etc/poolwatch/poolwatch.toml /tmp/whole.toml
echo 'no_such_key = 1' >/etc/poolwatch/poolwatch.toml
apt-get install -y -qq -o Dpkg::Options::=--force-confold --allow-downgrades /deploy/poolwatch.deb </dev/null \
    >/tmp/older.log 2>&1 || fail "a config that does not hold made apt fail: $(cat /tmp/older.log)"
grep -q 'the old daemon was left running' /tmp/older.log || fail "apt does not tell: $(cat /tmp/older.log)"
attempt 5
[ "$(main_pid)" = "$pid" ] || fail "the old daemon was ended for a version that refuses the config"
counted
cp /tmp/whole.toml /etc/poolwatch/poolwatch.toml
say "a version that refuses the config leaves the old daemon running: $sent counted"

systemctl restart poolwatch.service
attempt 5
await 60 answers readyz
another_pid "$pid" || fail "the rollback did not start the daemon anew"
counted
say "rolled back to $(dpkg-query -W -f '${Version}' poolwatch): $sent counted"

systemctl stop poolwatch.service
attempt 5
systemctl start poolwatch.service
await 60 answers readyz
counted
say "stopped, 5 attempts, started: $sent counted"

[ "$(programs)" -ge $((others + 2)) ] || fail "no programs while it runs: bpftool says $(programs)"
nothing_hangs() {
    [ "$(programs)" -eq "$others" ] || fail "$(programs) programs are left, and $others were there before"
    if grep -q poolwatch /proc/mounts; then fail "a mount is left"; fi
    if tc filter show dev eth0 ingress | grep -q poolwatch; then fail "a filter is left"; fi
}
echo 'no_such_key = 1' >/etc/poolwatch/poolwatch.toml
apt-get remove -y -qq poolwatch </dev/null >/tmp/remove.log 2>&1 || fail "remove: $(cat /tmp/remove.log)"
nothing_hangs
cp /tmp/whole.toml /etc/poolwatch/poolwatch.toml
apt-get install -y -qq -o Dpkg::Options::=--force-confold /deploy/poolwatch.deb </dev/null
await 60 answers readyz
sent=0
attempt 5
counted
say "removed over a config that does not hold, nothing hangs; installed again, it counts from 0"

# Keys of the operator's, which purging is not to hand to whoever gets the user's or the group's number next,
# nor to take from whoever else they are.
touch /etc/poolwatch/server.key /etc/poolwatch/client.key
chgrp poolwatch /etc/poolwatch/server.key
chown poolwatch:daemon /etc/poolwatch/client.key
apt-get purge -y -qq poolwatch </dev/null >/tmp/purge.log 2>&1 || fail "purge: $(cat /tmp/purge.log)"
if grep -v ' is left, with what did not come ' /tmp/purge.log | grep -i -e error -e 'poolwatch: ' -e 'not permitted'; then
    fail "purge complains"
fi
nothing_hangs
owner_is() {
    [ "$(stat -c %U:%G "/etc/poolwatch/$1")" = "$2" ] || fail "$1 is left to $(stat -c %U:%G "/etc/poolwatch/$1")"
}
owner_is server.key root:root
owner_is client.key root:daemon
rm -r /etc/poolwatch
left=$(find / -xdev -name '*poolwatch*' ! -path '/deploy/*' ! -path '/proc/*' ! -path '/sys/*')
[ -z "$left" ] || fail "left: $left"
for path in /run/poolwatch /etc/poolwatch /var/log/poolwatch /sys/fs/bpf/poolwatch; do
    [ ! -e "$path" ] || fail "left: $path: $(ls -la "$path")"
done
if getent passwd poolwatch >/dev/null; then fail "the user is left"; fi
say "purged: no program, pin, mount, file or user is left"
say done
