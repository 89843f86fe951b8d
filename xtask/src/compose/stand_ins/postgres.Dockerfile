# Stands in for the official image: Debian's PostgreSQL under the same folder, variables and commands.
ARG BASE
FROM $BASE
RUN mkdir -p /etc/postgresql-common/createcluster.d \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/larder.conf \
    && apt-get update \
    && apt-get install --yes --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/lib/postgresql/*/bin /usr/local/postgresql \
    && install --directory --owner=postgres --group=postgres --mode=0700 /var/lib/postgresql/data
ENV PATH=/usr/local/postgresql:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
COPY postgres.sh /usr/local/bin/
ENTRYPOINT ["bash", "/usr/local/bin/postgres.sh"]
CMD ["postgres"]
STOPSIGNAL SIGINT
