"""The console on CloudFront, out of a private bucket, with the API under the same address: it asks where it lies."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from html import escape
from typing import Any

from pumice.api.console.bundle import FOR_EVER, HOST, NONCE, POLICY, STATIC
from pumice.deploy.aws.account import Account
from pumice.deploy.aws.facts import Facts
from pumice.deploy.aws.stacks import Stack
from pumice.deploy.aws.template import allow, att, deny_without_tls, ref, resource, sub
from pumice.errors import ConflictError

CACHED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
"""As long as a file's own header says. All three policies are AWS's own, the same in every account."""
NEVER_CACHED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
FORWARDED = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
"""All that the caller sent, the key too, but for Host: API Gateway answers to its own name alone."""
YEAR = 31_536_000
SECONDS = 60
"""The longest wait for an answer to begin or go on that CloudFront grants without being asked for more."""
GATEWAY = HOST.replace("server", "gateway")
"""By which the page knows that it has an API with a key, and no more."""
MODELS = '<meta name="models" content="{}" />'
WAYS = """\
function handler(event) {
  const request = event.request;
  if (request.uri.startsWith("/console/assets/")) return request;
  if (!request.uri.startsWith("/console/")) {
    return { statusCode: 302, statusDescription: "Found", headers: { location: { value: "/console/" } } };
  }
  request.uri = "/console/index.html";
  return request;
}
"""
"""As the server has it: a file, or the page, which draws every other path. An error page would hide the API's 403."""


def built() -> bool:
    """Whether there is a console here to be sent."""
    return (STATIC / "index.html").is_file()


def there(facts: Facts, account: Account) -> bool:
    """Whether the deployment has a page already."""
    return "PageUrl" in Stack(account.client("cloudformation"), facts.api_stack).outputs()


def check(facts: Facts, account: Account) -> None:
    """Raise `ConflictError` for a page that was planned where the console is built and would be empty from here."""
    if facts.page and not built() and not there(facts, account):
        raise ConflictError(
            "The plan has a page, and the console is not built here.",
            "It was planned where the console is built; CloudFront would answer with nothing.",
            "Apply it there, or build the console (make install, with Node 20.19 or later), or plan again from here.",
        )


def put(s3: Any, bucket: str, models: Iterable[str] = ()) -> None:
    """The assets come first, so that the page names only what is there; older ones stay, for pages that are open.

    `models` can be chosen from; none where there is one, which needs no name.
    """
    for path in sorted((STATIC / "assets").iterdir()):
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        key = f"console/assets/{path.name}"
        s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), ContentType=kind, CacheControl=FOR_EVER)
    index = (STATIC / "index.html").read_text("utf-8").replace(HOST, GATEWAY + MODELS.format(escape(" ".join(models))))
    s3.put_object(
        Bucket=bucket,
        Key="console/index.html",
        # A file is the same for everybody, so no number in it could be used once.
        Body=index.replace(NONCE, "").encode(),
        ContentType="text/html; charset=utf-8",
        CacheControl="no-cache",
    )


def outputs() -> dict[str, Any]:
    """Where it lies, and where it answers."""
    return {"PageBucket": ref("PageBucket"), "PageUrl": sub("https://${Distribution.DomainName}")}


def resources(facts: Facts, stage: str) -> dict[str, Any]:
    """A private bucket, which CloudFront alone may read, and only over TLS; the API's `stage` under `/v1`."""
    # CloudFront's names are one list for all regions of an account.
    name = f"{facts.endpoint}-{facts.region}"
    control = {
        "Name": name,
        "OriginAccessControlOriginType": "s3",
        "SigningBehavior": "always",
        "SigningProtocol": "sigv4",
    }
    config = {"Comment": "The pages of the console.", "Runtime": "cloudfront-js-2.0"}
    return {
        "PageBucket": private_bucket(f"{facts.bucket}-page"),
        "OriginAccess": resource("AWS::CloudFront::OriginAccessControl", OriginAccessControlConfig=control),
        "PageHeaders": headers(name),
        "PageWays": resource(
            "AWS::CloudFront::Function", Name=name, AutoPublish=True, FunctionCode=WAYS, FunctionConfig=config
        ),
        "Distribution": distribution(stage),
        "PagePolicy": resource(
            "AWS::S3::BucketPolicy",
            Bucket=ref("PageBucket"),
            PolicyDocument={"Version": "2012-10-17", "Statement": statements()},
        ),
    }


def private_bucket(name: str) -> dict[str, Any]:
    """Encrypted, and nobody's but the owner's."""
    return resource(
        "AWS::S3::Bucket",
        BucketName=name,
        BucketEncryption={
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
    )


def headers(name: str) -> dict[str, Any]:
    """Scripts from here alone, no frame, no other place. The components' styles have no number used once in a file."""
    policy = POLICY.format(styles="'unsafe-inline'")
    security = {
        "ContentSecurityPolicy": {"ContentSecurityPolicy": policy, "Override": True},
        "ContentTypeOptions": {"Override": True},
        "FrameOptions": {"FrameOption": "DENY", "Override": True},
        "ReferrerPolicy": {"ReferrerPolicy": "no-referrer", "Override": True},
        "StrictTransportSecurity": {"AccessControlMaxAgeSec": YEAR, "Override": True},
    }
    opener = {"Header": "Cross-Origin-Opener-Policy", "Value": "same-origin", "Override": True}
    config = {"Name": name, "SecurityHeadersConfig": security, "CustomHeadersConfig": {"Items": [opener]}}
    return resource("AWS::CloudFront::ResponseHeadersPolicy", ResponseHeadersPolicyConfig=config)


def distribution(stage: str) -> dict[str, Any]:
    """Files out of the bucket, and `/v1` out of the API: one address, so that no other origin needs to be let in."""
    files = {
        "Id": "page",
        "DomainName": att("PageBucket", "RegionalDomainName"),
        "OriginAccessControlId": att("OriginAccess", "Id"),
        "S3OriginConfig": {"OriginAccessIdentity": ""},
    }
    api = {
        "Id": "api",
        "DomainName": sub("${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"),
        "OriginPath": f"/{stage}",
        "CustomOriginConfig": {
            "OriginProtocolPolicy": "https-only",
            "OriginSSLProtocols": ["TLSv1.2"],
            "OriginReadTimeout": SECONDS,
        },
    }
    pages = {
        "TargetOriginId": "page",
        "ViewerProtocolPolicy": "redirect-to-https",
        "Compress": True,
        "CachePolicyId": CACHED,
        "ResponseHeadersPolicyId": ref("PageHeaders"),
        "FunctionAssociations": [{"EventType": "viewer-request", "FunctionARN": att("PageWays", "FunctionARN")}],
    }
    asked = {
        "PathPattern": "/v1/*",
        "TargetOriginId": "api",
        "ViewerProtocolPolicy": "https-only",
        "AllowedMethods": ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"],
        "CachePolicyId": NEVER_CACHED,
        "OriginRequestPolicyId": FORWARDED,
        "ResponseHeadersPolicyId": ref("PageHeaders"),
    }
    config = {
        "Enabled": True,
        "HttpVersion": "http2and3",
        "Origins": [files, api],
        "DefaultCacheBehavior": pages,
        "CacheBehaviors": [asked],
        "ViewerCertificate": {"CloudFrontDefaultCertificate": True},
    }
    return resource("AWS::CloudFront::Distribution", DistributionConfig=config)


def statements() -> list[dict[str, Any]]:
    """The distribution reads; nobody comes without TLS."""
    reader = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}"
    read = allow("s3:GetObject", sub("${PageBucket.Arn}/*"), {"StringEquals": {"AWS:SourceArn": sub(reader)}})
    read["Principal"] = {"Service": "cloudfront.amazonaws.com"}
    return [read, deny_without_tls([att("PageBucket", "Arn"), sub("${PageBucket.Arn}/*")])]
