#!/bin/sh
# Asks each gateway every second whether it is ready, and gives nginx those that are: failover by health checks.
#
#   nginx-gateways.sh /etc/nginx/flask-gateway-servers.conf 10.0.0.11:8000 10.0.0.12:8000
#
# conf.d/flask-gateway.conf has `include /etc/nginx/flask-gateway-servers.conf;` in place of its `server` line. A
# gateway is out while /run/flask-gateway-out/HOST:PORT exists: so a release is rolled without a failed call.
# NGINX_RELOAD replaces the command that has nginx read the list.
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

while :; do
    if ! entries "$@" >"$list.new"; then sed -i 's/ down;/;/' "$list.new"; fi
    if cmp -s "$list.new" "$list"; then
        rm -f "$list.new"
    else
        mv "$list.new" "$list"
        ${NGINX_RELOAD:-nginx -s reload}
    fi
    sleep 1
done
