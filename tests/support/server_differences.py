"""Tests written for moto that fail on another server, each with what the server does differently.

Used by runs with ``MFS3_SERVER``. Each entry is the beginning of a test's name, as ``module::test``. The test runs and has to fail there:
one that passes is an error as well, so that the table stays true, but for those in ``RACES``.
"""

from __future__ import annotations

_NO_CONDITIONAL_DELETE = "the server does not know If-Match on DELETE: the library says S3Unsupported"
_VERSIONED = "conditions do not hold in versioned buckets of this server, as the library's probe finds: S3Unsupported"
_NO_ENCRYPTION = "the server does not know ?encryption: S3Unsupported"
_NO_STORAGE_CLASSES = "the server has the class STANDARD alone"
_NO_SQS = "the test needs a queue of the same server, which has S3 alone"
_OTHER_ABILITIES = "another server, other abilities"

BY_SERVER: dict[str, dict[str, str]] = {
    "radosgw": {
        "test_attributes::test_a_rewrite_keeps_every_attribute": _NO_STORAGE_CLASSES,
        "test_attributes::test_a_kms_key_does_not_go_to_another_bucket": "the server has no such KMS key",
        "test_bucket::test_a_bucket_is_created_in_its_region": "the server has one zone group, called default",
        "test_conditional::test_delete_if_unchanged": _NO_CONDITIONAL_DELETE,
        "test_conditional::test_the_condition_probe_leaves_no_version_in_a_versioned_bucket": _VERSIONED,
        "test_conditional::test_update_reads_changes_and_writes": (
            "the loser of a race gets 500 here: what stands there then need not be told from a lost write of one's own (outcome_unknown)"
        ),
        "test_copying::test_storage_class_and_tags_are_kept": _NO_STORAGE_CLASSES,
        "test_copying::test_small_objects_are_copied_through_the_lane": _NO_STORAGE_CLASSES,
        "test_copying::test_a_copy_may_replace_content_type_and_storage_class": _NO_STORAGE_CLASSES,
        "test_copying::test_the_storage_class_is_kept_at_any_size_and_between_accounts": _NO_STORAGE_CLASSES,
        "test_presigning::test_a_presigned_url_sets_a_file_name": "the server sends response headers as UTF-8 that it was given as Latin-1",
        "test_probe::test_probe_finds_the_capabilities_of_moto": _OTHER_ABILITIES,
        "test_probe::test_probing_a_given_bucket_keeps_its_configuration_and_versions": _VERSIONED,
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
        "test_object::test_metadata_is_read_back_unchanged": "the server decodes RFC 2047 in metadata, and strips blanks",
        "test_probe::test_probe_finds_the_capabilities_of_moto": _OTHER_ABILITIES,
        "test_subresources::test_set_lifetime_keeps_other_rules": "the server refuses rules with Prefix beside rules with Filter",
        "test_subresources::test_messageflux_s_own_public_statement_is_recognised": (
            "new buckets block public access here, as on AWS; the test, which sets a policy with plain boto3, does not lift the block"
        ),
        "test_subresources::test_notifications_are_merged_by_id": _NO_SQS,
    },
}


RACES = frozenset({"test_conditional::test_update_reads_changes_and_writes"})
"""Tests that fail only sometimes."""


def reason(server: str, module: str, test: str) -> str | None:
    """Return why a test of a module fails on a server; None if it must pass."""
    name = f"{module}::{test}"
    return next((why for start, why in BY_SERVER.get(server, {}).items() if name.startswith(start)), None)
