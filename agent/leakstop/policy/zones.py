# SPDX-License-Identifier: MIT
"""Zones in which strangers own names: what a wildcard must not, or should not, cover.

A small supplement, no copy of the public suffix list. The preset ``public-sinks`` holds the
zones where anyone can *store* data; here are those where anyone can run something, so that a
wildcard over them is as wide as the internet.
"""

from __future__ import annotations

REGISTRIES = frozenset(
    f"{second}.{country}"
    for country, seconds in {
        "au": "com net org",
        "br": "com net org",
        "cn": "com net org",
        "in": "co",
        "jp": "co ne or",
        "kr": "co or",
        "mx": "com",
        "nz": "co",
        "tr": "com",
        "tw": "com",
        "uk": "co org",
        "za": "co",
    }.items()
    for second in seconds.split()
)
"""Zones below a country where names are sold, like a top-level domain."""

TENANTS = frozenset(
    {
        "amplifyapp.com",
        "appspot.com",
        "azure-api.net",
        "azurecontainer.io",
        "azurecontainerapps.io",
        "azureedge.net",
        "azurefd.net",
        "azurewebsites.net",
        "b-cdn.net",
        "cloudapp.azure.com",
        "cloudapp.net",
        "cloudfront.net",
        "cloudfunctions.net",
        "elasticbeanstalk.com",
        "fastly.net",
        "fly.dev",
        "herokuapp.com",
        "on.aws",
        "ondigitalocean.app",
        "onrender.com",
        "run.app",
        "trafficmanager.net",
        "up.railway.app",
    }
)
"""Zones of application hosts and content networks."""
