"""Trackers, chat and mail as they are spoken to, each against a real server that is strict and goes wrong."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from twinscore.adapters.alert_receivers import open_messenger, open_tickets
from twinscore.adapters.email_messages import EmailMessenger
from twinscore.adapters.http_calls import Caller
from twinscore.errors import StoreUnavailable
from twinscore.monitoring.receivers import NotifySpec, TicketsSpec
from twinscore.ports.ticket_store import Message, Ticket, TicketStore

from ..mailbox import mail_server
from ..receivers import TOKEN, Fault, Receivers, receivers

NOW = datetime.now(UTC)


@pytest.fixture
def seen() -> Iterator[Receivers]:
    """Receivers of the test's own."""
    with receivers() as found:
        yield found


def message(verb: str = "open", incident: str = "loans/drift/1", **more: Any) -> Message:
    """Return what is said about an incident."""
    said: dict[str, Any] = {"body": f"**psi** is 0.4 ({verb})", "repeated": False, **more}
    return Message(
        id=f"{incident}/ticket/{verb}/1", incident=incident, model="loans", severity="warning",
        title="psi of income\nis 0.4", since=NOW, labels=("drift",), **said,
    )  # fmt: skip


@pytest.fixture(params=["github", "jira", "webhook", "file"])
def tracker(
    request: pytest.FixtureRequest, seen: Receivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, TicketStore]:
    """A tracker of each kind, as a deployment file names it."""
    monkeypatch.setenv("TRACKER", f"ops@example.org:{TOKEN}" if request.param == "jira" else TOKEN)
    kinds: dict[str, dict[str, Any]] = {
        "github": {"url": seen.url, "repository": "acme/risk", "token_env": "TRACKER"},
        "jira": {"url": f"{seen.url}/jira", "project": "OPS", "token_env": "TRACKER"},
        "webhook": {"url": f"{seen.url}/hook", "token_env": "TRACKER"},
        "file": {"folder": "tickets"},
    }
    spec = TicketsSpec(kind=request.param, private=True, **kinds[request.param])
    return request.param, open_tickets(spec, tmp_path, None)  # type: ignore[arg-type]


def told(seen: Receivers, folder: Path) -> tuple[int, int, int]:
    """Return how many tickets, comments and closed tickets there are, whatever the tracker."""
    files = [path.read_text() for path in folder.rglob("*.json")]
    events = [one["event"] for one in seen.events]
    opened = len(seen.issues) + len(files) + events.count("open")
    said = sum(map(len, seen.comments.values())) + sum(one.count('"order"') for one in files)
    closed = sum(one.get("state") == "closed" for one in seen.issues) + sum('"closed"' in one for one in files)
    closed += sum(one["fields"]["status"]["statusCategory"]["key"] == "done" for one in seen.issues if "fields" in one)
    return opened, said + len(events) - events.count("open"), closed + events.count("close")


def test_a_ticket_lives_once(tracker: tuple[str, TicketStore], seen: Receivers, tmp_path: Path) -> None:
    """Opened, spoken of and closed; each of it twice, as after a kill before it was noted, is once."""
    kind, store = tracker
    ticket = store.open(message())
    assert store.open(message(repeated=True)) == ticket
    store.comment(ticket, message("comment"))
    store.comment(None, message("comment", repeated=True))
    store.close(ticket, message("close"))
    store.close(ticket, message("close", repeated=True))
    store.open(message(incident="loans/drift/2"))
    assert (2, 2, 1) == told(seen, tmp_path)
    assert store.open(message("open-2", reopened=True)) == ticket
    store.open(message("open-2", reopened=True, repeated=True))
    opened, said, closed = told(seen, tmp_path)

    assert (2, 3, 0) == (opened, said, closed) or (kind, 3, 2, 1) == ("webhook", opened, said, closed)


def test_an_incident_without_a_ticket_is_told_so(tracker: tuple[str, TicketStore], seen: Receivers) -> None:
    """A comment on what was never opened opens nothing; only a webhook cannot know."""
    kind, store = tracker

    assert (kind == "webhook") == (store.comment(None, message("comment")) is not None)
    assert seen.issues == []


@pytest.mark.parametrize("tracker", ["github", "jira", "webhook"], indirect=True)  # a file answers nobody
def test_an_answer_that_is_lost_opens_no_second_ticket(tracker: tuple[str, TicketStore], seen: Receivers,
                                                       tmp_path: Path) -> None:  # fmt: skip
    """The tracker has done it, the connection ends before it says so; the next try finds it."""
    _, store = tracker
    seen.writes_only = True
    for verb, fault in (("open", Fault(after=True)), ("comment", Fault(after=True, status=502))):
        seen.faults = [fault]
        act = getattr(store, verb)
        given = () if verb == "open" else (None,)
        with pytest.raises(StoreUnavailable):
            act(*given, message(verb))
        act(*given, message(verb, repeated=True))

    assert (1, 1, 0) == told(seen, tmp_path)


@pytest.mark.parametrize(
    ("status", "headers", "after_s"),
    [
        (429, {"retry-after": "17"}, 17.0),
        (403, {"retry-after": "5"}, 5.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "{later}"}, 900.0),
        (429, {"retry-after": "{then}"}, 900.0),
        (429, {"retry-after": "soon"}, None),
        (403, {}, None),
        (500, {}, None),
        (422, {}, None),
    ],
)
def test_who_refuses_says_when_to_come_back(
    seen: Receivers, status: int, headers: dict[str, str], after_s: float | None
) -> None:
    """The wait that a tracker asks for is passed on, in whichever of its ways it says so."""
    then = datetime.now(UTC) + timedelta(seconds=900)
    moments = {"{later}": str(int(then.timestamp())), "{then}": format_datetime(then, usegmt=True)}
    seen.faults = [Fault(status=status, headers={name: moments.get(text, text) for name, text in headers.items()})]
    with pytest.raises(StoreUnavailable, match=rf"refused \(HTTP {status}\)") as caught:
        Caller("GitHub", private=True).call("GET", f"{seen.url}/repos/acme/risk/issues")

    found = caught.value.fields["after_s"]
    assert (after_s is None) == (found is None)
    assert after_s is None or abs(found - after_s) < 60


@pytest.mark.parametrize("fault", [Fault(hangs_s=20.0, status=200), Fault(status=200, drips=True)])
def test_who_hangs_is_left(seen: Receivers, fault: Fault) -> None:
    """Silence and an answer letter by letter both end in time."""
    seen.faults = [fault]
    with pytest.raises(StoreUnavailable, match=r"within 0\.5 s"):
        Caller("It", private=True, in_all_s=0.5).call("GET", f"{seen.url}/repos/acme/risk/issues")


@pytest.mark.parametrize(
    ("url", "private", "words"),
    [
        ("http://example.org/x", False, "https address"),
        ("ftp://example.org/x", True, "https address"),
        ("https://127.0.0.1:1/x", False, "not public"),
        ("https://[::1]:1/x", False, "not public"),
        ("http://169.254.169.254/latest/meta-data", True, "never called"),
        ("http://127.0.0.1:1/x", True, "cannot be called"),
        ("https://", False, "https address"),
        ("https://nobody.invalid/x", False, "cannot be called"),
    ],
)
def test_what_must_not_be_called_is_not(url: str, private: bool, words: str) -> None:
    """Plain HTTP and private addresses need a word, where clouds keep secrets is never called; none is shown."""
    with pytest.raises(StoreUnavailable, match=words) as caught:
        Caller("It", private=private, secret="meta-data").call("GET", url)

    assert "meta-data" not in caught.value.message


def test_a_redirect_is_not_followed(seen: Receivers) -> None:
    """A token is not carried elsewhere; the message says what to do."""
    seen.faults = [Fault(status=301, headers={"location": f"{seen.url}/hook"})]
    with pytest.raises(StoreUnavailable, match="redirects elsewhere"):
        Caller("It", private=True).call("POST", f"{seen.url}/repos/acme/risk/issues", body={})

    assert ["POST /repos/acme/risk/issues"] == seen.calls


def test_a_wrong_token_is_told_without_it(seen: Receivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the tracker and what it said, never the token; a variable that is not set is named."""
    spec = TicketsSpec(kind="github", url=seen.url, repository="acme/risk", token_env="TRACKER", private=True)
    with pytest.raises(StoreUnavailable, match="TRACKER is not set"):
        open_tickets(spec, tmp_path, None)  # type: ignore[arg-type]
    monkeypatch.setenv("TRACKER", "wr0ng")
    with pytest.raises(StoreUnavailable, match=r"acme/risk.*401.*Bad credentials") as caught:
        open_tickets(spec, tmp_path, None).open(message())  # type: ignore[arg-type]

    assert "wr0ng" not in str(caught.value)


def test_a_list_of_many_pages_is_read(seen: Receivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issue of the incident is found behind hundreds of others; a pull request that quotes it is none."""
    monkeypatch.setenv("TRACKER", TOKEN)
    spec = TicketsSpec(kind="github", url=seen.url, repository="acme/risk", token_env="TRACKER", private=True)
    store = open_tickets(spec, tmp_path, None)  # type: ignore[arg-type]
    first = store.open(message())
    quoted = {**seen.issues[0], "pull_request": {}}
    seen.issues += [{**quoted, "number": n} if n == 5 else {"number": n, "body": None, "state": "open"}
                    for n in range(2, 260)]  # fmt: skip

    assert Ticket("1", first.url) == store.open(message())


def test_calls_of_a_webhook_are_signed(seen: Receivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the secret can tell that it is us; the ticket is named as the receiver names it."""
    monkeypatch.setenv("SECRET", "s1gned")
    spec = TicketsSpec(kind="webhook", url=f"{seen.url}/hook", token_env="SECRET", private=True)
    ticket = open_tickets(spec, tmp_path, None).open(message())  # type: ignore[arg-type]
    (event,) = seen.events
    signature = event.pop("signature")
    signed = hmac.new(b"s1gned", _json(event), hashlib.sha256).hexdigest()

    assert Ticket("T-loans/drift/1") == ticket
    assert f"sha256={signed}" == signature


def _json(event: dict[str, Any]) -> bytes:
    import json

    return json.dumps(event, sort_keys=True).encode()


def test_slack_is_told(seen: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text with its title, in which nothing is a command of Slack's; an answer other than ok is no success."""
    monkeypatch.setenv("SLACK", f"{seen.url}/services/T0/B0/secret")
    slack = open_messenger(NotifySpec(kind="slack", url_env="SLACK", private=True))
    assert slack.send(message(body="<!channel> & more")) == ""
    seen.faults = [Fault(status=200)]
    with pytest.raises(StoreUnavailable, match="instead of ok"):
        slack.send(message())
    (text,) = seen.messages

    assert ":warning:" in text
    assert "&lt;!channel&gt; &amp; more" in text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost, with its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"],
        check=True, cwd=folder, capture_output=True,
    )  # fmt: skip
    return folder


def test_mail_is_sent_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With name and password, one Message-ID for one order; a reader who is not known stops no other."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    for name, value in (("SSL_CERT_FILE", str(certificate / "certificate.pem")), ("U", "ops"), ("P", "s3cret")):
        monkeypatch.setenv(name, value)
    with mail_server(tls, login=True) as box:
        spec = NotifySpec(
            kind="email", host="localhost", port=box.port, sender="twinscore@example.org", user_env="U",
            password_env="P", to=("ann@example.org", "gone@example.org"),
        )  # fmt: skip
        box.unknown = {"gone@example.org"}
        said = open_messenger(spec).send(message())
        box.busy = 1
        with pytest.raises(StoreUnavailable, match="451"):
            open_messenger(spec).send(message())
        open_messenger(spec).send(message(repeated=True))
    ids = {line for _, text in box.mails for line in text.splitlines() if line.startswith("Message-ID")}

    assert "gone@example.org" in said
    assert [["ann@example.org"]] * 2 == [to for to, _ in box.mails]
    assert "Subject: [warning] psi of income is 0.4" in box.mails[0][1]
    assert 1 == len(ids)
    assert {"\0ops\0s3cret"} == set(box.logins)


def test_mail_is_not_sent_to_a_stranger(certificate: Path) -> None:
    """A server whose certificate nobody vouches for gets neither password nor text."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
    with mail_server(tls) as box:
        mail = EmailMessenger(
            "localhost", port=box.port, tls="starttls", sender="a@b.c", to=["d@e.f"], login=("ops", "s3cret")
        )
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED") as caught:
            mail.send(message())

    assert (box.mails, box.logins) == ([], [])
    assert "s3cret" not in caught.value.message


def test_a_mail_server_that_hangs_is_left() -> None:
    """The conversation is cut when its time is over."""
    with mail_server() as box:
        box.hangs = True
        mail = EmailMessenger("127.0.0.1", port=box.port, tls="none", sender="a@b.c", to=["d@e.f"], in_all_s=0.3)
        with pytest.raises(StoreUnavailable, match="did not take"):
            mail.send(message())
