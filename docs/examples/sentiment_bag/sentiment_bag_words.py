"""The words that the model knows, and how a sentence becomes their numbers; needs nothing."""

LENGTH = 12  # of a sentence in words; a longer one is cut, a shorter one filled with 0
GOOD = ("bright", "clever", "fresh", "kind", "lovely", "quick", "tidy", "warm")
BAD = ("boring", "cold", "dirty", "dull", "rude", "slow", "stale", "ugly")
THINGS = ("cake", "film", "garden", "hotel", "song", "teacher", "town", "train")
OTHERS = ("a", "and", "is", "not", "rather", "so", "the", "was", "very")
WORDS = {word: number for number, word in enumerate((*GOOD, *BAD, *THINGS, *OTHERS), start=1)}


def encode(sentence):
    """The numbers of the words of ``sentence`` that are known, as many as the network takes."""
    numbers = [WORDS[word] for word in sentence.lower().split() if word in WORDS][:LENGTH]
    return numbers + [0] * (LENGTH - len(numbers))
