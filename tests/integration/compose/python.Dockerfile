# Stands in for the official slim Python where no container registry can be reached: Debian's own.
FROM study-test/debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates >/dev/null \
 && rm -rf /var/lib/apt/lists/*
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Where a proxy signs with a certificate of its own, uv must be told to believe the system's.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
