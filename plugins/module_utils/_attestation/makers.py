# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The makers of adapters whose statements count; pure.

Marvell LiquidSecurity is what Azure Managed HSM has (recordings). Its roots were issued anew in
2024 and are valid to 2034: for LiquidSecurity with 2048 bits, SHA-256 230143df..., and for
LiquidSecurity 2 with 4096 bits, SHA-256 17644de0...
"""

from __future__ import annotations

import base64
from functools import cache

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    Certificate,
    read_certificate,
)

#: Who made an adapter whose chain ends in one of these
MARVELL = "Marvell"

#: How receipts call any other maker whose root the user pinned
NOT_MARVELL = "not Marvell"

_ROOTS = (
    "MIIDvzCCAqegAwIBAgIBADANBgkqhkiG9w0BAQsFADCBkTELMAkGA1UEBhMCVVMxEzARBgNVBAgMCkNhbGlmb3Ju"
    "aWExETAPBgNVBAcMCFNhbiBKb3NlMRUwEwYDVQQKDAxDYXZpdW0sIEluYy4xFzAVBgNVBAsMDkxpcXVpZFNlY3Vy"
    "aXR5MSowKAYDVQQDDCFsb2NhbGNhLmxpcXVpZHNlY3VyaXR5LmNhdml1bS5jb20wHhcNMjQwNzI1MjAyOTIwWhcN"
    "MzQwNzIzMjAyOTIwWjCBkTELMAkGA1UEBhMCVVMxEzARBgNVBAgMCkNhbGlmb3JuaWExETAPBgNVBAcMCFNhbiBK"
    "b3NlMRUwEwYDVQQKDAxDYXZpdW0sIEluYy4xFzAVBgNVBAsMDkxpcXVpZFNlY3VyaXR5MSowKAYDVQQDDCFsb2Nh"
    "bGNhLmxpcXVpZHNlY3VyaXR5LmNhdml1bS5jb20wggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQDckvqQ"
    "M4cvZjdyqOLGMTjKJwvfxJOhVqw6pojgUMz10VU7z3CtJrwHcESwEDUxUkMxzof55kForURLaVVCjedYauEisnZw"
    "wSWkAemp9GREm8iX6BXtoZ8VDWoO2H0AJiHCM62qJeZVXhm8A/zWG0PyLrCINH0yz9ah6BcwdsZGLvQvkpUNJhwV"
    "Mrb9nI9BlRmTWhoot1YSTf7jfibEkc/pN+0Ez30RFaL3MhyIaNJS22+10tny4sOUTsPEtXKah5mPlHpnrGcB18z5"
    "Yxgr0vDNYx+FCPGo95XGrq9NYfNMlwsSeFSr8D1VQ7HZmipeTB1hQTUQw/K/Rmtw5NiljkYTAgMBAAGjIDAeMA4G"
    "A1UdDwEB/wQEAwIChDAMBgNVHRMEBTADAQH/MA0GCSqGSIb3DQEBCwUAA4IBAQCYlr7aeTnbRfPJGc5Q5LEVreY9"
    "1mp0e5KN331iG3DXQ6x07RMY4PPN+MvVgIPD21Ix6Xtp6Vj9VcsBpV7h+6X69s79Ix8j0XV+6+AnrLuftjUjNw7i"
    "I9shOYa9aSTg/R6YpwwpXH+L3SZZ+VEFyBg5gM7az0aJvuF48fSxNNwel11VC6xkrUFTuzI13GqYe+2rWhc/4TWv"
    "s1PpSzA0K0W7KYFX2jhGi7H1uOrVneJiaVgD9bgIao/UaQabjlLT62wE9DegpdKPOHbIiQp5XOV1rIP/pAWSSiyY"
    "7BB7c1acC/3ucDoSjTNUEsVIk3Zsm2jiUy0XC/rZTxaZkHaHBux7",
    "MIIFbTCCA1WgAwIBAgIBADANBgkqhkiG9w0BAQsFADBpMUMwCQYDVQQGEwJVUzAJBgNVBAgMAkNBMAsGA1UECwwE"
    "U1NCVTAOBgNVBAcMB1Nhbkpvc2UwDgYDVQQKDAdNYXJ2ZWxsMSIwIAYDVQQDDBljYXZpdW0tbGlxdWlkc2VjdXJp"
    "dHktbHMyMB4XDTI0MDcyMjIwMzQyM1oXDTM0MDcyMDIwMzQyM1owaTFDMAkGA1UEBhMCVVMwCQYDVQQIDAJDQTAL"
    "BgNVBAsMBFNTQlUwDgYDVQQHDAdTYW5Kb3NlMA4GA1UECgwHTWFydmVsbDEiMCAGA1UEAwwZY2F2aXVtLWxpcXVp"
    "ZHNlY3VyaXR5LWxzMjCCAiIwDQYJKoZIhvcNAQEBBQADggIPADCCAgoCggIBAM8x8JJPLiULUzlmnDKTQpFvg0iy"
    "5Gajj7VtOU04sszOVxcFWM4aUIhGxq7bbKtX7SxMiuR7wfSIkTW+O5AR3kG+PxhPKycfKaAS0HTO38eRmI1q94E2"
    "6g/kn4+6H8ECWOcRm1UxNljEJNsHc6NCw3NotVFfefvEYgpj2NS5RGcWs9IcPhXfz7uEdA60taEdyhvqetoPQoYU"
    "KFpWB3uuhOXuYUuNyiXqDem6QLG1zlc7da9tZ9H/xZZUwfhPxDYhi7j6PQbgbookN/csVC29tNitTZ8CKFPxLoGD"
    "JMKCoV87Kn9Uce8Q6+6x7uGvngpJuzTksX7F69hEPA+qwmPu5+NczaxNHtgffcsM+1Yoz0HJF7EQwXb8eST729Y7"
    "KHOF/rMOv3pCpKVIVpMrlfPZrIsf8pEMDKGKyHnZ27Vyd1YwkHGLpw5oEsbctlzz0YbKntj5srToQflRj/8Gb27W"
    "4SgFJ8FpaTnNnHrESUKrXgFgfShA7wOZbdPzgNbRD1kdeptqypwXYr2OGlqidWRFtoQsLjmy+DO7/Y8T0KzI5WpN"
    "pS2fxP/JlW070mCW0BmvMZBy9QarJjhwOWKD2lRqDWCkguRJpjKnLBUUjjnBWQuJnFYcLuM1IGvIBhRyMuvsuv+i"
    "wNwabIaAffb55NK52jR695XN53/VqrW/GGXVRbXbAgMBAAGjIDAeMA4GA1UdDwEB/wQEAwIChDAMBgNVHRMEBTAD"
    "AQH/MA0GCSqGSIb3DQEBCwUAA4ICAQCNdyJeWTIyOQ6mymRYta5tXfzIdBUT01RYSkLmsCgasLbSHAZlq8HOwmoz"
    "Er8ZL39f2BQ798VFHvHwsjJJVbJNY6Y9CmXehssPWxFlNYTXj4P4GIevp19St9VU1d9alThYDyP7ZHTZhMoqlZfv"
    "qYQ6pzdvI+R+9vhHumENn8Nm0HBz7lwc0rwM1LpnfqD2k/dmCk1x943e5o+Rzi7kYzm4+gjtaEftbvTX5FZ/jTpv"
    "dOOkGv50kn37JHaR/+FJwEmYQEbst7hVykyQO/FJ0wtkFkjNDpPqQyTeuWpAeTn8xYe8zZ8UGiolqFGJO2SimLIT"
    "CsbofoEUnnYr4Hp7z4N1vZIbg65GvVTdo8be8IDzAKrK3fMOT+zsKjaGPhVCvMObfu3w+yQ6Xon8850BXIkQbizu"
    "LprEW/TwhTMAta4N1c5rGEQf7Ew0NuO3kGyANWub63ZzAMaLCJ8hRKh6VdbtF16E/ShjmbvXXV6O0Sg5B81l7Had"
    "s8Z/DWNTYpqyt4MqW0429+31VwZle4yryV8bfsRi7Yj7Y0FUxCQYeNc0zJ+6GDHbEW5D+DB2S7Kyd4IK2WEg6HJZ"
    "WS2EM6+oVEO9dBgKOAVMZL74ozlhRS7m783mhtSNzDnJe2DHaTofytCJFWeIntMvl7KWljI9LBaJ3PczFfg2b0Ib"
    "kFE/hMJIsA==",
)


@cache
def marvell_roots() -> tuple[Certificate, ...]:
    """Return Marvell's roots."""
    return tuple(read_certificate(base64.b64decode(root)) for root in _ROOTS)
