"""The one exception of the local stack."""

__all__ = ["StackError"]


class StackError(Exception):
    """The stack cannot do what was asked. The text is one line for a person: what is wrong, and what helps."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
