import pytest

from nabladft.errors import InputError
from nabladft.transport.settings import TransportSettings


def test_the_environment_sets_patience_and_the_s3_server():
    settings = TransportSettings.from_environment(
        {
            "NABLADFT_CONNECT_TIMEOUT": "2.5",
            "NABLADFT_ATTEMPTS": "3",
            "NABLADFT_S3_ENDPOINT": "https://s3.example.org",
            "AWS_ENDPOINT_URL": "https://other.example.org",
            "AWS_REGION": "eu-west-1",
        }
    )

    assert settings == TransportSettings(
        connect_timeout=2.5, attempts=3, s3_endpoint="https://s3.example.org", s3_region="eu-west-1"
    )


@pytest.mark.parametrize(("value", "message"), [("soon", "not a number"), ("-1", "positive")])
def test_other_values_are_refused(value, message):
    with pytest.raises(InputError, match=message):
        TransportSettings.from_environment({"NABLADFT_READ_TIMEOUT": value})
