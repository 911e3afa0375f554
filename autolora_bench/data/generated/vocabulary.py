"""Word lists of the generators."""


def listed(words: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(words.split(", "))


PEOPLE = listed(
    "Anna, Ben, Clara, David, Emma, Frank, Grace, Henry, Irene, Jack, Karen, Leo, Maria, Nathan, Olivia, "
    "Peter, Rachel, Samuel, Teresa, Victor"
)
CITIES = listed(
    "Paris, London, Berlin, Madrid, Rome, Vienna, Prague, Dublin, Lisbon, Oslo, Athens, Warsaw, Tokyo, "
    "Boston, Chicago, Sydney"
)
THINGS = listed(
    "dog, horse, bicycle, guitar, piano, camera, boat, car, table, painting, book, coat, lamp, clock, "
    "violin, jacket"
)
COLOURS = listed("red, blue, green, black, white, yellow, brown, grey")
TIMES = listed(
    "on Monday, on Friday, last week, yesterday, in March, in October, this morning, two years ago, last "
    "summer, on Sunday"
)
DEALS = (
    ("bought", "purchased"),
    ("sold", "gave up"),
    ("found", "discovered"),
    ("lost", "misplaced"),
    ("painted", "drew"),
)
"""A verb, and another verb that means the same."""

STRANGERS = listed(
    "the minister, the nurse, the striker, a chef, the senator, a singer, the referee, an investor"
)
VENUES = listed("parliament, the stadium, the hospital, the kitchen, court, the studio, the bank")
MATTERS = listed("treaty, surgery, recipe, campaign, melody, loan, vaccine, match")
MANNERS = listed(
    "without a word, with great care, for no reason, in front of everyone, against all advice, at the "
    "last minute"
)
STATEMENTS = tuple((verb, verb) for verb in listed("criticised, postponed, cancelled, explained, defended"))
"""The last five stand where a person, city, thing, time and deal would, in sentences about something else."""

REVIEWED = listed(
    "film, acting, story, music, ending, food, service, room, hotel, book, concert, dialogue, cast, "
    "script, soup, coffee, trip, garden, lecture, game"
)
PRAISE = listed(
    "wonderful, excellent, delightful, charming, brilliant, lovely, superb, great, impressive, good, "
    "beautiful, enjoyable"
)
BLAME = listed(
    "terrible, awful, boring, dreadful, disappointing, bad, horrible, dull, poor, annoying, ugly, tedious"
)
DEGREES = ("", "really ", "quite ", "very ", "truly ")

TOPICS = (
    listed("football, goal, coach, stadium, referee, league, striker, match"),
    listed("election, parliament, minister, senator, vote, campaign, treaty, law"),
    listed("orchestra, melody, singer, guitar, concert, album, rhythm, piano"),
    listed("oven, recipe, flour, chef, sauce, garlic, dinner, bread"),
    listed("hospital, doctor, vaccine, nurse, surgery, patient, fever, clinic"),
    listed("bank, loan, shares, market, profit, inflation, investor, tax"),
    listed("telescope, planet, rocket, orbit, comet, astronaut, galaxy, moon"),
    listed("forest, river, bear, mountain, eagle, valley, wolf, lake"),
)

STEMS = listed(
    "alpha, beta, delta, omega, kappa, sigma, NF-1, CD28, IL-2, TNF, GATA-1, p53, Myb, Fos, Jun, STAT3, "
    "Oct-2, Rel"
)
HEADS = (
    listed("gene, promoter, enhancer"),
    listed("protein, receptor, kinase"),
    listed("cells, lymphocytes, monocytes"),
    listed("line, clone, culture"),
    listed("mRNA, transcript, RNA"),
    listed("inhibitor, drug, compound"),
    listed("syndrome, disease, disorder"),
    listed("mouse, mutant, strain"),
)
MODIFIERS = listed("human, viral, activated, murine, T, mature")
"""Words that open an entity before its stem; the same word in front of a plain noun is no entity."""

PLACES = listed(
    "The Golden Lion, The Blue Door, Green Garden, The Old Mill, Silver Spoon, The Red Fox, Harbour View, "
    "The Corner House, Maple Tree, The Black Swan, River Kitchen, The White Rose, Sunny Terrace, The "
    "Anchor"
)
"""Names of restaurants."""
RESTAURANT_FIELDS = {
    "eatType": listed("pub, restaurant, coffee shop"),
    "food": listed("French, Italian, Indian, English, Japanese, Chinese"),
    "priceRange": listed("cheap, moderate, high"),
    "area": listed("riverside, city centre"),
    "familyFriendly": listed("yes, no"),
    "near": listed("the station, the market, the museum, the park, the bridge"),
}
