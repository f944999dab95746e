#!/bin/sh
# Asks each gateway every second whether it is ready, and gives nginx those that are: failover by health checks.
#
#   nginx-gateways.sh /etc/nginx/flask-gateway-servers.conf 10.0.0.11:8000 10.0.0.12:8000
#
# conf.d/flask-gateway.conf has `include /etc/nginx/flask-gateway-servers.conf;` in place of its `server` line. A
# gateway is out while /run/flask-gateway-out/HOST:PORT exists: so a release is rolled without a failed call.
# The list with .in-force behind its name is the one that nginx uses: it follows as soon as the workers of nginx
# that have an older one take no more calls, or after 30 s.
# NGINX_RELOAD replaces the command that has nginx read the list, NGINX_PID the file with nginx's process id.
set -u
list=$1
shift
out=${GATEWAYS_OUT:-/run/flask-gateway-out}

entries() {
    ready=
    for gateway; do
        state=down
        if [ ! -e "$out/$gateway" ] && curl -sf -m 1 -o /dev/null "http://$gateway/readyz"; then
            state= ready=yes
        fi
        echo "server $gateway max_fails=1 fail_timeout=2s $state;"
    done
    # While none is ready, nginx asks them all: their own errors say more than nginx's.
    [ -n "$ready" ]
}

# The workers that take calls: nginx writes "is shutting down" behind the name of the others.
workers() { pgrep -P "$(cat "${NGINX_PID:-/run/nginx.pid}")" -f 'worker process$'; }

reload() {
    before=$(workers)
    ${NGINX_RELOAD:-nginx -s reload}
    tries=0
    while [ -n "$before" ] && [ $tries -lt 300 ] && workers | grep -qxF "$before"; do
        tries=$((tries + 1))
        sleep 0.1
    done
}

while :; do
    if ! entries "$@" >"$list.new"; then sed -i 's/ down;/;/' "$list.new"; fi
    if cmp -s "$list.new" "$list"; then
        rm -f "$list.new"
    else
        mv "$list.new" "$list"
        reload
    fi
    cmp -s "$list" "$list.in-force" || cp "$list" "$list.in-force"
    sleep 1
done
