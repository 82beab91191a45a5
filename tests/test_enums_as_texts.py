"""A member of ``class Key(str, Enum)`` means its value wherever text is taken: boto3 sends the value, and an f-string may give the name."""

from __future__ import annotations

import asyncio
import pickle
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3.subresources.encryption import Encryption
from messageflux_s3.subresources.tags import TagSet


class Name(str, Enum):
    """Texts whose str() and format() are others, as those of any such class are on Python 3.12."""

    KEY = "reports/a b.json"
    OTHER = "reports/other"
    PREFIX = "reports/"
    FOLDER = "reports"
    CONTENT = "content"
    CONTENT_TYPE = "text/csv"
    WORD = "word"
    PATTERN = "**/*.json"
    SLASH = "/"
    DIRECTIVE = "max-age=3600"
    REGION = "eu-west-3"
    ALGORITHM = "AES256"

    def __str__(self) -> str:
        return f"Name.{self.name}"

    def __format__(self, _: str) -> str:
        return f"Name.{self.name}"


@pytest.fixture(params=["the lane", "boto3"])
def bucket(moto: Server, moto_bucket: s3.S3Bucket, request: pytest.FixtureRequest) -> s3.S3Bucket:
    return moto.connect(lane=request.param == "the lane", pickle_secrets=True).bucket(moto_bucket.name)


def keys(bucket: s3.S3Bucket) -> list[str]:
    return [obj.key for obj in bucket.find()]


def test_every_write_and_read_has_the_same_key(bucket: s3.S3Bucket) -> None:
    """A single write was stored under the value, one of a batch under the name, and both were read under the name."""
    wanted = Name.KEY.value
    writes: list[Any] = [
        lambda: bucket.put_object(Name.KEY, Name.CONTENT),
        lambda: bucket.put_object(Name.KEY, Name.CONTENT, if_absent=True),
        lambda: bucket.put_objects([(Name.KEY, Name.CONTENT)]),
        lambda: bucket.upload_object(Name.KEY, Name.CONTENT),
        lambda: bucket[Name.KEY].put(Name.CONTENT),
        lambda: bucket[Name.KEY].update(lambda _: Name.CONTENT),
        lambda: bucket.path(Name.KEY).write_text(Name.CONTENT),
        lambda: bucket.put_object("source", "content").copy_to(Name.KEY),
        lambda: bucket.put_object("source", "content").move_to(Name.KEY),
        lambda: (bucket.put_object("source", "content"), bucket.copy_object("source", Name.KEY)),
    ]
    for write in writes:
        write()
        assert bucket[wanted].reload().text == "content"
        assert Name.KEY in bucket
        obj = pickle.loads(pickle.dumps(bucket[Name.KEY]))
        assert (obj.text, obj.size, type(obj.key), obj.uri) == ("content", 7, str, f"s3://{bucket.name}/{wanted}")
        assert [found.text for found in bucket.get_objects([Name.KEY])] == ["content"]
        assert bucket.delete_objects([Name.KEY, "source"]).succeeded == [wanted, "source"]
        assert keys(bucket) == []


def test_prefixes_and_patterns_select_the_same_keys(bucket: s3.S3Bucket, tmp_path: Path) -> None:
    """A sync that deletes found no object below the name, and deleted all files of the folder."""
    bucket.put_objects([(Name.KEY, "{}"), ("z", "")])
    assert [obj.key for obj in bucket.find(Name.PREFIX)] == [Name.KEY.value]
    assert bucket.find(glob=Name.PATTERN).count() == bucket.find(start_after=Name.KEY).count() == 1
    assert [*bucket.find(delimiter=Name.SLASH).prefixes()] == ["reports/"]
    assert bucket.usage(Name.PREFIX).count == 1
    (tmp_path / "a b.json").write_text("{}")
    assert [step.action for step in bucket.sync_to_folder(Name.FOLDER, tmp_path, delete=True).steps] == ["skip"]
    assert bucket.upload_folder(tmp_path, Name.FOLDER) == [Name.KEY.value]
    assert bucket.find(Name.PREFIX).delete().succeeded == [Name.KEY.value]


def test_what_is_written_with_an_object_has_the_value(bucket: s3.S3Bucket) -> None:
    """Metadata, tags and headers."""
    obj = bucket.put_object(
        "k", b"", {Name.WORD: Name.WORD}, content_type=Name.CONTENT_TYPE, cache_control=Name.DIRECTIVE,
        tags={Name.WORD: Name.WORD},
    ).reload()  # fmt: skip
    assert (obj.metadata, obj.content_type, obj.cache_control) == ({"word": "word"}, "text/csv", "max-age=3600")
    assert dict(obj.tags.get()) == {"word": "word"}
    obj.tags.update({Name.KEY: Name.WORD})
    assert dict(obj.tags.get()) == {"word": "word", Name.KEY.value: "word"}
    obj.tags.put(TagSet(((Name.WORD, Name.KEY),)))
    assert dict(obj.tags.get()) == {"word": Name.KEY.value}


def test_settings_have_the_value(moto_bucket: s3.S3Bucket) -> None:
    """They were refused, since the store returned another text; an encryption was set to the name."""
    moto_bucket.lifecycle.expire(days=1, prefix=Name.PREFIX, tags={Name.WORD: Name.WORD})
    [rule] = moto_bucket.lifecycle.get().rules
    assert (rule.id, rule.prefix, rule.tags) == ("expire reports/", "reports/", (("word", "word"),))
    moto_bucket.cors.ensure(s3.CorsRule(Name.WORD, origins=(Name.WORD,)))
    assert [(rule.id, rule.origins) for rule in moto_bucket.cors.get().rules] == [("word", ("word",))]
    moto_bucket.encryption.ensure(Name.ALGORITHM)  # type: ignore[arg-type]
    assert moto_bucket.encryption.get() == Encryption("AES256")
    target = s3.Notification(Name.WORD, "arn:aws:sqs:us-east-1:123456789012:q", prefix=Name.PREFIX)
    assert [type(text) for text in (target.id, target.prefix)] == [str, str]


def test_a_lock_is_read_where_it_was_written(moto_bucket: s3.S3Bucket) -> None:
    """The lease was written under the value and read under the name: its holder found it held by somebody else."""
    with moto_bucket.lock(Name.KEY, ttl=60) as lock:
        lock.check()
        assert keys(moto_bucket) == [Name.KEY.value]
    moto_bucket.acquire_lock(Name.OTHER)
    assert moto_bucket.check_lock(Name.OTHER)
    moto_bucket.release_lock(Name.OTHER)
    assert Name.OTHER not in moto_bucket


def test_a_bucket_and_a_configuration_have_the_value(moto: Server, moto_bucket: s3.S3Bucket) -> None:
    """Each text of a configuration; names of buckets."""

    class Place(str, Enum):
        BUCKET = moto_bucket.name
        ENDPOINT = moto.endpoint_url

        def __format__(self, _: str) -> str:
            return f"Place.{self.name}"

    store = s3.connect(Place.ENDPOINT, access_key=Name.WORD, secret_key=Name.WORD, region=Name.REGION)
    bucket = store.bucket(Place.BUCKET)
    assert (bucket.name, bucket.uri) == (moto_bucket.name, f"s3://{moto_bucket.name}")
    assert [type(text) for text in (bucket.name, store.config.endpoint_url, store.config.region)] == [str, str, str]
    bucket.put_object(Name.KEY, b"1")
    assert "/eu-west-3/s3/" in bucket[Name.KEY].presigned_url().replace("%2F", "/")

    async def read() -> bytes:
        async with s3.AsyncS3Store(store) as awaited:
            async with awaited.bucket(Place.BUCKET).lock(Name.OTHER, ttl=60) as lock:
                lock.check()
            return await awaited.bucket(Place.BUCKET)[Name.KEY].read()

    assert asyncio.run(read()) == b"1"
