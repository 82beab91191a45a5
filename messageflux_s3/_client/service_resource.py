"""The client of a given boto3 object (a client, or a resource such as a bucket), and boto3's S3 service resource for that client."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import boto3
from boto3.utils import LazyLoadedWaiterModel, ServiceContext

from .core_sessions import new_core_session

if TYPE_CHECKING:
    from botocore.model import ServiceModel
    from mypy_boto3_s3 import S3Client, S3ServiceResource


def resource_type(boto3_object: Any) -> str | None:
    """Return boto3's name for the type of a resource: ``"Bucket"``, ``"ObjectSummary"``, ``"s3"`` for the service resource itself.

    Returns:
        The name; None for anything that is not a boto3 resource.
    """
    model = getattr(getattr(boto3_object, "meta", None), "resource_model", None)
    return getattr(model, "name", None)


def client_of(boto3_object: Any) -> S3Client | None:
    """Return a boto3 client itself, or the client of a boto3 resource; None for anything else. The client may be of another service."""
    meta = getattr(boto3_object, "meta", None)
    found = boto3_object if hasattr(meta, "service_model") else getattr(meta, "client", None)
    return cast("S3Client | None", found)


def service_resource_of(boto3_object: Any) -> S3ServiceResource:
    """Return the service resource for a client or a boto3 resource; the argument itself if it is the service resource.

    A boto3 bucket or object holds the client but not the service resource that created it. boto3 has no public function that creates a
    service resource for an existing client, so this does the same as ``boto3.Session.resource``, but without creating a client.
    """
    if resource_type(boto3_object) == "s3":
        return cast("S3ServiceResource", boto3_object)
    client: Any = client_of(boto3_object)
    return cast("S3ServiceResource", _service_resource_class(client.meta.service_model)(client=client))


@lru_cache(maxsize=16)  # the users' own clients may each have a model of their own, of 12 MB
def _service_resource_class(service_model: ServiceModel) -> Any:
    core = new_core_session()
    session: Any = boto3.Session(botocore_session=core)  # registers upload_file etc., and the path of boto3's data
    definition = core.get_component("data_loader").load_service_model("s3", "resources-1")
    waiters: Any = LazyLoadedWaiterModel(core, "s3", service_model.api_version)  # has the interface of a WaiterModel
    context = ServiceContext(
        service_name="s3",
        service_model=service_model,
        resource_json_definitions=definition["resources"],
        service_waiter_model=waiters,
    )
    return session.resource_factory.load_from_definition(
        resource_name="s3", single_resource_json_definition=definition["service"], service_context=context
    )
