"""Whether the addresses among the settings can be read by what will connect to them."""

from allocation_worker.adapters.postgres.engine import parse_url
from allocation_worker.adapters.rabbitmq import urls
from allocation_worker.config import PREFIX, Settings, SettingsError


def check_addresses(settings: Settings) -> None:
    """See that broker and database can be connected to by these addresses, without connecting.

    Raises:
        SettingsError: one of them cannot be read.
    """
    for url in settings.amqp_url:
        try:
            urls.check(url)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}AMQP_URL is wrong: {error}.") from error
    try:
        parse_url(settings.database_url)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}DATABASE_URL is wrong: {error}.") from error
