"""``obj.fs_uri`` and ``store.storage_options``: pasted into pandas and fsspec, without secrets to be seen."""

from __future__ import annotations

import pickle

import fsspec
import pandas
import pytest
from support.servers import Server

import messageflux_s3 as s3
from messageflux_s3 import S3Bucket, S3Store


@pytest.mark.parametrize("key", ["a.csv", "deep/er/a b.csv", "ä#?%20.csv", "a[1].csv"])
def test_pandas_reads_and_writes_a_table(bucket: S3Bucket, key: str) -> None:
    table = pandas.DataFrame({"name": ["erp", "crm"], "total": [7, 8]})
    obj, options = bucket[key], bucket.store.storage_options
    table.to_csv(obj.fs_uri, index=False, storage_options=options)
    assert obj.text == "name,total\nerp,7\ncrm,8\n"
    assert pandas.read_csv(obj.fs_uri, storage_options=options).equals(table)


def test_pandas_reads_and_writes_parquet(moto_bucket: S3Bucket) -> None:
    table = pandas.DataFrame({"name": ["erp", "crm"], "total": [7, 8]})
    obj, options = moto_bucket["a.parquet"], moto_bucket.store.storage_options
    table.to_parquet(obj.fs_uri, storage_options=options)
    assert pandas.read_parquet(obj.fs_uri, storage_options=options).equals(table)


def test_a_store_of_ones_own_resource_has_options_too(moto: Server, moto_bucket: S3Bucket) -> None:
    store = S3Store.from_resource(moto_bucket.s3_resource)
    moto_bucket.put_object("a.txt", "hello")
    with fsspec.open(moto_bucket["a.txt"].fs_uri, **store.storage_options) as file:
        assert file.read() == b"hello"


def test_options_show_and_pickle_no_secrets() -> None:
    store = s3.connect("http://127.0.0.1:9", access_key="reader-key", secret_key="hush-hush", session_token="tok-tok")
    for text in (repr(store.storage_options), str(store.storage_options), str(pickle.dumps(store.storage_options))):
        assert "hush-hush" not in text
        assert "tok-tok" not in text
    assert fsspec.filesystem("mfs3", **store.storage_options).store == store
