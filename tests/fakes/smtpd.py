"""A mail server of aiosmtpd: STARTTLS and a login are required, and one recipient is unknown.

Arguments: the certificate and its key, in PEM. Writes its port on the first line, then each mail that it takes, as Python
parses it, as one line of JSON. Ends with its standard input.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

LOGIN = LoginPassword(b"daemon", b"canary-0003")
UNKNOWN = "unknown@example.com"


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == UNKNOWN:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.original_content
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        parts = [
            {"type": part.get_content_type(), "text": part.get_content(), "defects": len(part.defects)}
            for part in mail.iter_parts()
        ]
        lines = raw.split(b"\r\n")
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "is_encrypted": session.ssl is not None,
            "is_authenticated": session.authenticated,
            "headers": [[name, str(value)] for name, value in mail.items()],
            "date": mail["date"].datetime.isoformat(),
            "defects": len(mail.defects) + sum(len(value.defects) for value in mail.values()),
            "type": mail.get_content_type(),
            "parts": parts,
            "longest_line": max(len(line) for line in lines),
            "has_bare_line_ends": any(b"\r" in line or b"\n" in line for line in lines),
        }
        print(json.dumps(told), flush=True)
        return "250 2.0.0 queued"


def authenticate(server, session, envelope, mechanism, login):
    return AuthResult(success=login == LOGIN, handled=False)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])

    def serve():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
