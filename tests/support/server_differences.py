"""Tests written for moto that fail on another server, each with what the server does differently.

Used by runs with ``MFS3_SERVER``. Each entry is the beginning of a test's name, as ``module::test``. The test runs and has to fail there:
one that passes is an error as well, so that the table stays true, but for those in ``RACES``.
"""

from __future__ import annotations

_NO_CONDITIONAL_DELETE = "the server does not know If-Match on DELETE: the library says S3Unsupported"
_VERSIONED = "conditions do not hold in versioned buckets of this server, as the library's probe finds: S3Unsupported"
_NO_ENCRYPTION = "the server does not know ?encryption: S3Unsupported"
_NO_STORAGE_CLASSES = "the server has the class STANDARD alone"
_NO_KMS_KEY = "the server has no such KMS key"
_NO_CHECKSUMS = "the server does not keep the checksums that are sent with an object (x-amz-checksum-*)"
_ONE_ZONE_GROUP = "the server has one zone group, called default"
_NO_SQS = "the test needs a queue of the same server, which has S3 alone"
_OTHER_ABILITIES = "another server, other abilities"

BY_SERVER: dict[str, dict[str, str]] = {
    "radosgw": {
        "test_attributes::test_a_rewrite_keeps_every_attribute": _NO_STORAGE_CLASSES,
        "test_attributes::test_a_kms_key_does_not_go_to_another_bucket": _NO_KMS_KEY,
        "test_bucket::test_a_bucket_is_created_in_its_region": _ONE_ZONE_GROUP,
        "test_bucket_properties::test_region_of_a_bucket_in_another_region": _ONE_ZONE_GROUP,
        "test_conditional::test_delete_if_unchanged": _NO_CONDITIONAL_DELETE,
        "test_conditional::test_the_condition_probe_leaves_no_version_in_a_versioned_bucket": _VERSIONED,
        "test_conditional::test_update_reads_changes_and_writes": (
            "the loser of a race gets 500 here: what stands there then need not be told from a lost write of one's own (outcome_unknown)"
        ),
        "test_copying::test_storage_class_and_tags_are_kept": _NO_STORAGE_CLASSES,
        "test_copying::test_small_objects_are_copied_through_the_lane": _NO_STORAGE_CLASSES,
        "test_copying::test_a_copy_may_replace_content_type_and_storage_class": _NO_STORAGE_CLASSES,
        "test_copying::test_the_storage_class_is_kept_at_any_size_and_between_accounts": _NO_STORAGE_CLASSES,
        "test_object_properties::test_encryption_is_a_property": _NO_KMS_KEY,
        "test_object_properties::test_checksums_": _NO_CHECKSUMS,
        "test_object_properties::test_a_returned_mapping_of_checksums_is_a_copy": _NO_CHECKSUMS,
        "test_object_properties::test_properties_survive_pickling": _NO_CHECKSUMS,
        "test_object_properties::test_properties_of_an_async_object_are_known_after_load": _NO_CHECKSUMS,
        "test_objects_from::test_a_handle_of_a_version_describes_the_version_after_a_write[update": _VERSIONED,
        "test_presigning::test_a_presigned_url_sets_a_file_name": "the server sends response headers as UTF-8 that it was given as Latin-1",
        "test_probe::test_probe_finds_the_capabilities_of_moto": _OTHER_ABILITIES,
        "test_probe::test_probing_a_given_bucket_keeps_its_configuration_and_versions": _VERSIONED,
        "test_restoring_archives::test_an_archived_object_is_restored": _NO_STORAGE_CLASSES,
        "test_restoring_archives::test_nothing_is_sent_for_an_object_that_is_not_archived[STANDARD_IA]": _NO_STORAGE_CLASSES,
        "test_set_metadata::test_metadata_is_replaced_and_everything_else_is_kept[attributes, storage class": _NO_STORAGE_CLASSES,
        "test_subresources::test_an_empty_default_encryption_is_a_deletion": _NO_ENCRYPTION,
        "test_subresources::test_encryption_is_set_read_and_deleted": _NO_ENCRYPTION,
        "test_subresources::test_ensure_makes_the_change_and_returns_it[encryption]": _NO_ENCRYPTION,
        "test_aio_model::test_sub_resource_methods_are_awaited": _NO_ENCRYPTION,
        "test_subresources::test_notifications_are_merged_by_id": _NO_SQS,
        "test_subresources::test_sub_resource_reprs": "a policy that denies everything denies it to its owner here, reading the policy too",
        "test_versions::test_update_by_a_handle_of_an_old_version_changes_the_current_object": _VERSIONED,
        "test_transfer::test_a_corrupted_byte_is_detected_in_a_download_in_parts": (
            "the server does not tell the length of a part, by which the etag of an object written in parts could be compared"
        ),
    },
    "localstack": {
        "test_attributes::test_a_rewrite_keeps_every_attribute": (
            "the server shows what plain boto3 wrote in another form (metadata encoded anew), so that the test cannot begin"
        ),
        "test_attributes::test_a_kms_key_does_not_go_to_another_bucket": "the test compares metadata that this server encodes anew",
        "test_conditional::test_delete_if_unchanged": _NO_CONDITIONAL_DELETE,
        "test_confirmation::test_a_storage_class_that_a_real_server_does_not_have_is_unsupported[copied": (
            "the server refuses an unknown storage class on a write, and keeps it on a copy"
        ),
        "test_every_store::test_a_call_is_right_or_raises[moto-S3Bucket.upload_object in parts, if_absent": (
            "two completions of racing uploads succeed here now and then, so that one probe finds the condition honoured and another not"
        ),
        "test_every_store::test_a_call_is_right_or_raises[moto-S3Object.copy_to if_match that does not hold": (
            "during the probe's race the server answers a GET with the body of one write and the checksum of another: S3ChecksumError"
        ),
        "test_listing::test_any_delimiter_gives_s3_s_common_prefixes[moto-False]": (
            "with encoding-type=url, which boto3 sends, the server does not roll up keys with encoded characters"
        ),
        "test_object::test_metadata_is_read_back_unchanged": "the server decodes RFC 2047 in metadata, and strips blanks",
        "test_probe::test_probe_finds_the_capabilities_of_moto": _OTHER_ABILITIES,
        "test_split_listing::test_a_server_s_keys_are_listed_as_page_by_page": (
            "the server answers 500 to every token of a listing that goes on after a key that is not ASCII"
        ),
        "test_subresources::test_an_empty_default_encryption_is_a_deletion": (
            "after the deletion the server answers ?encryption with nothing, as one might that does not know it: S3Unsupported"
        ),
        "test_subresources::test_set_lifetime_keeps_other_rules": "the server refuses rules with Prefix beside rules with Filter",
        "test_subresources::test_messageflux_s_own_public_statement_is_recognised": (
            "new buckets block public access here, as on AWS; the test, which sets a policy with plain boto3, does not lift the block"
        ),
        "test_subresources::test_notifications_are_merged_by_id": _NO_SQS,
    },
}


RACES = (
    "test_conditional::test_update_reads_changes_and_writes",
    "test_every_store::test_a_call_is_right_or_raises[moto-S3Bucket.upload_object in parts, if_absent",
    "test_every_store::test_a_call_is_right_or_raises[moto-S3Object.copy_to if_match that does not hold",
)
"""Beginnings of the names of tests that fail only sometimes."""


def reason(server: str, module: str, test: str) -> str | None:
    """Return why a test of a module fails on a server; None if it must pass."""
    name = f"{module}::{test}"
    return next((why for start, why in BY_SERVER.get(server, {}).items() if name.startswith(start)), None)
