"""Copies of inherited methods behave as the methods."""

from proxy.base.own_methods import copy_inherited_methods


class Base:
    def __init_subclass__(cls) -> None:
        copy_inherited_methods(cls, Base)

    def greet(self, name: str = "you", *, mark: str = "!") -> str:
        """Say hello."""
        return f"{self.word()} {name}{mark}"

    def word(self) -> str:
        return "hello"

    @property
    def loud(self) -> str:
        return self.greet().upper()


class Other(Base):
    def word(self) -> str:
        return "bye, " + super().word()


class Third(Other):
    pass


def test_each_subclass_has_code_of_its_own() -> None:
    assert Base.greet.__code__ is not Other.greet.__code__
    assert Base.greet.__code__ == Other.greet.__code__
    assert Other.greet.__doc__ == "Say hello."


def test_what_is_called_is_the_same() -> None:
    assert Other().greet() == "bye, hello you!"
    assert Other().greet("Ann", mark="?") == "bye, hello Ann?"
    assert Third().loud == "BYE, HELLO YOU!"
    assert Third.word is Other.word
