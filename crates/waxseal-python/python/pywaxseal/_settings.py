"""Settings that come out of a pickle. They are made by keyword, so that their order does not matter."""

from __future__ import annotations

from ._native import S3, Kms


def make_kms(region: str | None, profile: str | None, endpoint_url: str | None, timeout: float | None) -> Kms:
    return Kms(region=region, profile=profile, endpoint_url=endpoint_url, timeout=timeout)


def make_s3(region: str | None, profile: str | None, endpoint_url: str | None) -> S3:
    return S3(region=region, profile=profile, endpoint_url=endpoint_url)
