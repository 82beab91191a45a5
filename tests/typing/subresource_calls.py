"""Calls of the sub-resources as a caller's type checker reads them. Never run: mypy and pyright check it strictly."""
# mypy: warn-unreachable

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

import messageflux_s3 as s3

bucket = s3.connect("https://minio.example").bucket("scratch")
obj = bucket["k"]

# -- tags of a bucket and of an object

tag: str = bucket.tags["team"]
bucket.tags["team"] = "data"
del bucket.tags["team"]
bucket.tags.update({"team": "data"})
tags: dict[str, str] = dict(obj.tags.get())
obj.tags.put({"a": "b"})
obj.tags.remove("a", "b")
change = bucket.tags.ensure({"team": "data"})
no_change: bool = change.is_empty
before: dict[str, str] = dict(change.before)
difference: str = str(change)


def describe(changes: list[s3.Change[Any]]) -> list[str]:
    """Changes of any configuration."""
    return [str(each) for each in changes]


# -- the other configurations

rule = s3.LifecycleRule("logs", prefix="logs/", expire_days=30)
cors_rule = s3.CorsRule("app", ("https://app.example",), methods=("GET", "PUT"))
target = s3.Notification("uploads", "arn:aws:sqs:eu-west-1:1:uploads", suffix=".csv")
describe(
    [
        bucket.lifecycle.ensure(rule),
        bucket.cors.ensure(cors_rule),
        bucket.notifications.ensure(target),
        bucket.encryption.ensure("aws:kms", kms_key_id="id", bucket_key=True),
        bucket.policy.ensure({"Sid": "read", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}),
        change,
    ]
)
assert_type(bucket.lifecycle.get().get("logs"), "s3.LifecycleRule | None")
bucket.lifecycle.expire(days=7, prefix="tmp/")
bucket.lifecycle.remove("logs")
origins: tuple[str, ...] = bucket.cors.get().rules[0].origins
statement: dict[str, Any] | None = bucket.policy.get().get("read")
bucket.policy.remove("read")
is_public: bool = bucket.public_access.status().is_public
bucket.public_access.allow()
bucket.public_access.block()
bucket.versioning.enable()
is_enabled: bool = bucket.versioning.is_enabled()
bucket.versioning.suspend()
bucket.notifications.remove("uploads")
