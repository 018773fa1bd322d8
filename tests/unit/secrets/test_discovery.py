# SPDX-License-Identifier: MIT
"""Which variables of an environment are taken for secrets, and which never are."""

from __future__ import annotations

import base64
import random
import string
import uuid

import pytest

from leakstop.secrets.discovery import (
    MAX_VALUE,
    MIN_GUESSED,
    find_in_variable,
    is_random,
    unique_name,
)

RANDOM = random.Random(11)
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def some(alphabet: str, length: int) -> str:
    return "".join(RANDOM.choices(alphabet, k=length))


def taken(name: str, value: str) -> bool:
    found = find_in_variable(f"{name}={value}".encode())
    return found is not None and (found.name, found.value) == (name, value.encode())


# What hosted runners, containers, builds and tools have in their environments.
BENIGN = {
    # runner
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SHA": some(HEX, 40),
    "GITHUB_WORKFLOW_SHA": some(HEX, 40),
    "GITHUB_REF": "refs/pull/12345/merge",
    "GITHUB_RUN_ID": "17993847562",
    "GITHUB_ACTOR_ID": "41898282",
    "GITHUB_REPOSITORY_OWNER_ID": "9919000",
    "GITHUB_ENV": f"/home/runner/work/_temp/_runner_file_commands/set_env_{uuid.uuid4()}",
    "GITHUB_OUTPUT": f"/home/runner/work/_temp/_runner_file_commands/set_output_{uuid.uuid4()}",
    "GITHUB_STATE": f"/home/runner/work/_temp/_runner_file_commands/save_state_{uuid.uuid4()}",
    "GITHUB_EVENT_PATH": "/home/runner/work/_temp/_github_workflow/event.json",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_WORKSPACE": "/home/runner/work/project/project",
    "RUNNER_TRACKING_ID": f"github_{uuid.uuid4()}",
    "RUNNER_NAME": "GitHub Actions 1000004283",
    "RUNNER_ENVIRONMENT": "github-hosted",
    "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://run.test/idtoken/{uuid.uuid4()}?api-version=2.0",
    "ACTIONS_CACHE_SERVICE_V2": "True",
    "ACTIONS_ORCHESTRATION_ID": f"{uuid.uuid4()}.build.__default",
    "ImageVersion": "20261115.1.0",
    "INVOCATION_ID": some(HEX, 32),
    "JOURNAL_STREAM": "9:12345",
    "AGENT_TOOLSDIRECTORY": "/opt/hostedtoolcache",
    "GHCUP_INSTALL_BASE_PREFIX": "/usr/local",
    "VCPKG_INSTALLATION_ROOT": "/usr/local/share/vcpkg",
    "SWIFT_PATH": "/usr/share/swift/usr/bin",
    "POWERSHELL_DISTRIBUTION_CHANNEL": "GitHub-Actions-ubuntu24",
    "DOTNET_SKIP_FIRST_TIME_EXPERIENCE": "1",
    "ACCEPT_EULA": "Y",
    "XDG_RUNTIME_DIR": "/run/user/1001",
    # names that speak of secrets and hold none
    "SSH_AUTH_SOCK": "/tmp/ssh-XXXXXX0aB1cD/agent.1234",
    "AWS_ACCESS_KEY_ID": "AKIA" + some(string.ascii_uppercase + "234567", 16),
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/tmp/awscreds-0a1B2c3D4e5F/token",
    "AWS_SHARED_CREDENTIALS_FILE": "/home/runner/.aws/credentials-0aB1cD2eF3",
    "GOOGLE_APPLICATION_CREDENTIALS": f"/home/runner/work/p/p/gha-creds-{some(HEX, 16)}.json",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": f"/home/runner/work/gha-creds-{some(HEX, 16)}.json",
    "DOCKER_CONTENT_TRUST_SERVER": "https://notary.test",
    "TOKEN_URL": f"https://login.test/{uuid.uuid4()}/oauth2/v2.0/token",
    "TOKEN_ENDPOINT": "https://login.test/oauth2/token?tenant=a1B2c3D4e5F6",
    "TOKEN_FILE": "/var/run/secrets/kubernetes.io/serviceaccount/token",
    "TOKEN_TYPE": "bearer-token-v2-0a1b2c3d",
    "SECRET_NAME": "prod-db-0a1b2c3d4e5f-main",
    "SECRET_ARN": f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod-{some(ALNUM, 6)}",
    "KMS_KEY_ID": some(HEX, 32),
    "SIGNING_KEY_FINGERPRINT": some("0123456789ABCDEF", 40),
    "GPG_KEY": some("0123456789ABCDEF", 40),
    "NODE_KEYS": f"{some('0123456789ABCDEF', 40)} {some('0123456789ABCDEF', 40)}",
    "SSH_PUBLIC_KEY": f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{some(ALNUM, 43)} ci@build",
    "VAPID_PUBLIC_KEY": some(ALNUM, 87),
    "PUBLIC_KEY_PATH": "/etc/keys/release-0a1b2c3d.pub",
    "SSH_HOST_KEY": f"AAAAC3NzaC1lZDI1NTE5AAAAI{some(ALNUM, 43)}",
    "CACHE_KEY": f"linux-{some(HEX, 64)}",
    "RESTORE_KEY": f"Linux-node20-{some(HEX, 64)}",
    "npm_cache_key": f"node-cache-Linux-x64-npm-{some(HEX, 64)}",
    "BUILD_KEY": f"main-ubuntu-{some(HEX, 40)}",
    "STATE_CACHE_KEY": f"setup-go-Linux-x64-ubuntu24-go-1.23.4-{some(HEX, 64)}",
    "SONAR_PROJECT_KEY": "acme_shop-frontend_2024",
    "JIRA_PROJECT_KEY": "SHOP",
    "PARTITION_KEY": "customer-region-2024-07",
    "OBJECT_KEY": f"releases/v1.24.0/{some(HEX, 40)}/bundle.tar.gz",
    "IDEMPOTENCY_KEY": str(uuid.uuid4()),
    "CORRELATION_TOKEN": str(uuid.uuid4()),
    "KEYBOARD_LAYOUT": "us",
    "PASSWORD_STORE": "/home/runner/.password-store",
    "PASSWORD_HASH": f"$2b$12${some(ALNUM, 53)}",
    "POSTGRES_PASSWORD": "postgres",
    "MYSQL_ROOT_PASSWORD": "rootrootrootrootroot",
    "DB_PASSWORD": "my-test-database-password",
    "TEST_PASSWORD": "CorrectHorseBatteryStaple",
    "ADMIN_PASSWORD": "administrator2024",
    "SECRET_KEY_BASE": "changeme-changeme-changeme-changeme",
    "SECRET_KEY": "django-insecure-key-for-tests-only",
    "JWT_SECRET": "your-256-bit-secret-placeholder",
    "APP_KEY": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "API_TOKEN": "YOUR_API_TOKEN_EXAMPLE_1234",
    "ACCESS_TOKEN": "${{ secrets.ACCESS_TOKEN }}",
    "AUTH_TOKEN": "$NPM_TOKEN_FROM_VAULT_1A2b",
    "PASSWORD": "0000000000000000000000000",
    "CREDENTIALS": "/etc/creds/0aB1cD2eF3gH4.json",
    "CREDENTIAL_HELPER": "osxkeychain-0a1B2c3D4e",
    "TOKEN_VERSION": "2024-11-05T10:22:33Z",
    "SECRET_VERSION": "v1.24.0-rc.1+build0a1b2c",
    "TOKEN_AUDIENCE": "api://AzureADTokenExchange",
    "SESSION_TOKEN_TTL": "3600000000000000",
    "IMAGE_PULL_SECRETS": "registry-creds,other-creds-0a1b2c3",
    "SECRET_SCAN_ARGS": "--only-verified,--json=0a1b2c3d4e",
    "PAT_CHECKSUM": some(HEX, 64),
    "PATCH": some(HEX, 40),
    "PATIENT": some(HEX, 40),
    "MONKEY": some(ALNUM, 40),
    "TOKENIZERS_PARALLELISM": "false",
    "COMPAT_LEVEL": some(HEX, 32),
    # random, and nobody says that it is a secret
    "BUILD_ID": some(ALNUM, 40),
    "SOURCE_DATE_EPOCH": "1731667200",
    "INTEGRITY": f"sha512-{base64.b64encode(RANDOM.randbytes(64)).decode()}",
    "SIGNING_SECRET_DIGEST": f"sha256:{some(HEX, 64)}",
    "DIGEST_TOKEN": f"sha256:{some(HEX, 64)}",
    "NIX_STORE_KEY": f"cache.test-1:{some(ALNUM, 43)}=",
    "TRACEPARENT": f"00-{some(HEX, 32)}-{some(HEX, 16)}-01",
    "DATABASE_URL": f"postgres://app:{some(ALNUM, 24)}@db.example.test/app",
    "LS_COLORS": "rs=0:di=01;34:ln=01;36:mh=00:pi=40;33:so=01;35",
    "PS1": r"\[\e]0;\u@\h: \w\a\]${debian_chroot:+($debian_chroot)}\u@\h:\w\$ ",
    "PATH": "/snap/bin:/home/runner/.local/bin:/opt/pipx_bin:/home/runner/.cargo/bin",
    "EMAIL_TOKEN": "build-bot-0a1B2c3D@example.test",
}


@pytest.mark.parametrize("name", BENIGN)
def test_an_ordinary_variable_is_left_alone(name: str) -> None:
    assert not taken(name, BENIGN[name])


GUESSED = {
    "DEPLOY_TOKEN": lambda: some(ALNUM + "-_", 32),
    "SOMETHING_TOKEN": lambda: some(ALNUM, 24),
    "INPUT_API-TOKEN": lambda: some(ALNUM, 40),
    "npmToken": lambda: some(ALNUM, 36),
    "MYTOKEN": lambda: some(ALNUM, 36),
    "HEX_TOKEN": lambda: some(HEX, 40),
    "DB_PASSWORD": lambda: some(ALNUM, 20) + "!x9",
    "CLIENT_SECRET": lambda: some(ALNUM + "~._-", 40),
    "SIGNING_KEY": lambda: some(ALNUM, 44),
    "ENCRYPTION_KEY": lambda: base64.b64encode(RANDOM.randbytes(32)).decode(),
    "FASTLANE_PASSWD": lambda: some(ALNUM, 24),
    "KEYSTORE_PASSPHRASE": lambda: some(ALNUM, 24),
    "RELEASE_PAT": lambda: some(ALNUM, 52),
    "TWITTER_APIKEY": lambda: some(ALNUM, 25),
    "GOOGLE_CREDENTIALS": lambda: base64.b64encode(RANDOM.randbytes(90)).decode(),
    "ACTIONS_RUNTIME_TOKEN": lambda: some(ALNUM, 60),
    "AWS_SECRET_ACCESS_KEY": lambda: some(ALNUM + "+/", 40),
    "API_TOKEN_2": lambda: some(ALNUM, 32),
}


@pytest.mark.parametrize("name", GUESSED)
def test_a_random_value_under_a_secrets_name_is_taken(name: str) -> None:
    assert sum(taken(name, GUESSED[name]()) for _ in range(50)) >= 45


SHAPED = {
    "npm token": lambda: "npm_" + some(ALNUM, 36),
    "GitHub personal access token": lambda: "ghp_" + some(ALNUM, 36),
    "GitHub app installation token": lambda: "ghs_" + some(ALNUM, 36),
    "Slack webhook": lambda: f"https://hooks.slack.com/services/{some(ALNUM, 9)}/{some(ALNUM, 24)}",
    "private key": lambda: (
        f"-----BEGIN RSA PRIVATE KEY-----\n{some(ALNUM, 64)}\n-----END RSA PRIVATE KEY-----"
    ),
}


@pytest.mark.parametrize("kind", SHAPED)
@pytest.mark.parametrize("name", ["WHATEVER", "x", "KUBECONFIG_CONTENT"])
def test_a_known_format_is_taken_whatever_its_name(kind: str, name: str) -> None:
    assert taken(name, SHAPED[kind]())


def test_a_url_with_a_password_is_not_taken_it_belongs_at_a_host_that_no_table_has() -> None:
    for scheme in ("postgres", "mongodb+srv", "redis"):
        assert not taken("DATABASE_SECRET", f"{scheme}://app:{some(ALNUM, 32)}@db.example.test/x")


def test_the_bounds_of_a_value() -> None:
    assert not taken("API_TOKEN", some(ALNUM, MIN_GUESSED - 1))
    assert taken("API_TOKEN", some(HEX + ALNUM, MAX_VALUE))
    assert not taken("API_TOKEN", some(HEX + ALNUM, MAX_VALUE + 1))


@pytest.mark.parametrize("name", ["", "A B", "A;B", "\x00", "-", "1TOKEN", "TÖKEN"])
def test_what_is_no_name_is_passed_over(name: str) -> None:
    assert not taken(name, some(ALNUM, 32))


def test_bytes_that_are_no_text_are_no_guess() -> None:
    assert find_in_variable(b"API_TOKEN=" + bytes(range(128, 160))) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("?" * 65_536, id="question-marks"),
        pytest.param("https://" + "?" * 65_000, id="a-url-of-them"),
        pytest.param("-----BEGIN PRIVATE KEY-----" * 2000, id="beginnings-of-keys"),
        pytest.param("a." * 32_000, id="labels"),
        pytest.param("{" + '"type" ' * 9000 + "}", id="nearly-a-service-account"),
        pytest.param("a=" * 32_000, id="settings"),
    ],
)
@pytest.mark.timeout(10)
def test_a_hostile_value_costs_no_more_than_its_length(text: str) -> None:
    for _ in range(10):
        find_in_variable(f"API_TOKEN={text[:MAX_VALUE]}".encode())


def test_words_are_not_random_and_generators_output_is() -> None:
    assert not any(
        is_random(text)
        for text in (
            b"my-service-password-for-staging",
            b"MySuperSecretPassword",
            b"thequickbrownfoxjumps",
            b"release-2024-07-01-final",
            b"aaaaaaaaaaaaaaaa1b",
        )
    )
    assert sum(is_random(RANDOM.randbytes(16).hex().encode()) for _ in range(200)) >= 195


def test_a_second_secret_of_one_name_gets_a_number() -> None:
    assert unique_name("A", []) == "A"
    assert unique_name("A", ["A"]) == "A#2"
    assert unique_name("A", ["A", "A#2", "B"]) == "A#3"
