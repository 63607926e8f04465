"""The servers and the clusters of these tests. A cluster lives for all tests that use it."""

import os

import pytest
from servers import DaskCluster, RayCluster, Servers


@pytest.fixture(scope="session")
def servers():
    servers = Servers()
    for name, value in servers.environment.items():
        if name.startswith("AWS_"):
            os.environ[name] = value
    yield servers
    servers.close()


@pytest.fixture(scope="session", params=["dask", "ray"])
def cluster(request, servers):
    cluster = {"dask": DaskCluster, "ray": RayCluster}[request.param](servers)
    cluster.kind = request.param
    yield cluster
    cluster.close()
