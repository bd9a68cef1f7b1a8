# One image for every service and every job: `python -m <package>`. Nothing is compiled and nothing is written at run time.
FROM python:3.13-slim AS build
COPY requirements/runtime.txt /build/runtime.txt
RUN python -m venv /opt/telemed \
 && /opt/telemed/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r /build/runtime.txt
COPY schemas /opt/telemed/app/schemas
COPY services /opt/telemed/app/services
# The root file system is read-only later, so the bytecode is made now.
RUN /opt/telemed/bin/python -m compileall -q /opt/telemed/app /opt/telemed/lib

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin telemed
COPY --from=build /opt/telemed /opt/telemed
ENV PATH=/opt/telemed/bin:$PATH PYTHONPATH=/opt/telemed/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/telemed/app
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m"]
CMD ["services.cli.main", "--help"]
