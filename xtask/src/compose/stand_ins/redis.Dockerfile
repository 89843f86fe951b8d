# Stands in for the official image: Debian's Redis under the same folder and commands.
ARG BASE
FROM $BASE
RUN apt-get update \
    && apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=redis --group=redis /data
VOLUME /data
WORKDIR /data
COPY redis.sh /usr/local/bin/
ENTRYPOINT ["bash", "/usr/local/bin/redis.sh"]
CMD ["redis-server"]
