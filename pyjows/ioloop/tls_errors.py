"""What failed in a TLS handshake with a server or a proxy, and what to do about it.

Owns the sentences. Must not know how a handshake is made (`tls.py`).
"""

from __future__ import annotations

import ssl

from .._text import cause_of

__all__ = ['explained']


def explained(exc: OSError, *, of_proxy: bool = False) -> str:
    """The cause in OpenSSL's words, and where there is one, the way out: of the server, or of the proxy before it."""
    cause = cause_of(exc)
    if isinstance(exc, ssl.SSLCertVerificationError):
        if 'match' in exc.verify_message and 'certificate is not valid for' in exc.verify_message:
            if of_proxy:
                return f'{cause}. Give the proxy by a name that its certificate has'
            return f'{cause}. Connect by a name that the certificate has, or pass that name as server_hostname='
        option = 'proxy_tls' if of_proxy else 'tls'
        return (
            f"{cause}. For a certificate of your own, pass {option}=TLS(ca='ca.pem') with the file of its issuer; if "
            'the issuer is a public one, the certificates of this system are missing or old'
        )
    if getattr(exc, 'reason', None) in ('WRONG_VERSION_NUMBER', 'RECORD_LAYER_FAILURE'):
        if of_proxy:
            return f'{cause}: the proxy does not speak TLS there; use http:// in its URL if it is meant to be without'
        return f'{cause}: the server does not speak TLS there; use ws:// if it is meant to be without'
    return cause
