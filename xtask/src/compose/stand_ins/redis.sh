# Redis in /data, for whoever reaches the container.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    chown redis:redis /data
    exec setpriv --reuid=redis --regid=redis --init-groups bash "$0" "$@"
fi
exec "$@" --protected-mode no
