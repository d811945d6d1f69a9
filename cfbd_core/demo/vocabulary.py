"""What a demo scene can show: OpenMoji pictograms under the names people use, colours and number words.

OpenMoji is the open-source emoji and icon project, licence CC BY-SA 4.0 (https://openmoji.org).
The ten class names of ``imagenette_val`` and their near synonyms are left out on purpose: they measure
zero-shot transfer and must appear in no paired data.
"""

from __future__ import annotations

from dataclasses import dataclass

# name; code points of its pictograms; other names; flags:
#   m  a mass noun ("some bacon")        s  plural only ("some grapes")      r  a pair ("a pair of jeans")
#   p  can be painted in any colour      f  must not be mirrored (lettering)
#   +  talked about often                -  talked about rarely
_TABLE = """
bat; 1F987; ;-
bear; 1F43B; brown bear;
bee; 1F41D; honeybee;
butterfly; 1F98B; ;
camel; 1F42B,1F42A; ;
cat; 1F408,1F431; kitty,kitten;+
cow; 1F404,1F42E; ;+
crab; 1F980; ;
crocodile; 1F40A; alligator;
deer; 1F98C; stag;
dinosaur; 1F996,1F995; ;
dog; 1F415,1F436; puppy;+
dolphin; 1F42C; ;
duck; 1F986; mallard;
eagle; 1F985; ;
elephant; 1F418; ;+
flamingo; 1F9A9; ;
fox; 1F98A; red fox;
frog; 1F438; ;
giraffe; 1F992; ;
goat; 1F410; ;
hedgehog; 1F994; ;
hippo; 1F99B; hippopotamus;
horse; 1F40E,1F434; pony;+
jellyfish; 1FABC; ;-
kangaroo; 1F998; ;
koala; 1F428; koala bear;
ladybug; 1F41E; ladybird;
leopard; 1F406; ;
lion; 1F981; ;+
llama; 1F999; alpaca;
lobster; 1F99E; ;
monkey; 1F412,1F435; ;+
mouse; 1F401,1F42D; ;
octopus; 1F419; ;
owl; 1F989; ;
panda; 1F43C; panda bear;
parrot; 1F99C; ;
peacock; 1F99A; ;
penguin; 1F427; ;
pig; 1F416,1F437; piglet;+
rabbit; 1F407,1F430; bunny;+
raccoon; 1F99D; ;
rhino; 1F98F; rhinoceros;
rooster; 1F413; cockerel;
shark; 1F988; ;
sheep; 1F411; ewe;+
sloth; 1F9A5; ;
snail; 1F40C; ;
snake; 1F40D; ;
spider; 1F577; ;
squirrel; 1F43F; chipmunk;
swan; 1F9A2; ;
tiger; 1F405,1F42F; ;+
tropical fish; 1F420; angelfish;
turtle; 1F422; tortoise;
unicorn; 1F984; ;
whale; 1F433,1F40B; ;
wolf; 1F43A; grey wolf;
zebra; 1F993; ;
apple; 1F34E,1F34F; ;+
avocado; 1F951; ;
bacon; 1F953; bacon strips;m-
banana; 1F34C; ;-
bell pepper; 1FAD1; sweet pepper;
birthday cake; 1F382; cake;+
blueberries; 1FAD0; ;s
broccoli; 1F966; ;m
carrot; 1F955; ;
cheese; 1F9C0; Swiss cheese;m
cherries; 1F352; ;s
chocolate bar; 1F36B; bar of chocolate;
cookie; 1F36A; biscuit;
corn; 1F33D; sweetcorn;m
croissant; 1F950; ;
cupcake; 1F9C1; muffin;
doughnut; 1F369; donut;
egg; 1F95A; ;
eggplant; 1F346; aubergine;
french fries; 1F35F; fries,chips;s
grapes; 1F347; ;s
hamburger; 1F354; burger,cheeseburger;+
hot dog; 1F32D; ;
ice cream; 1F366,1F368; ;m+
lemon; 1F34B; ;
lollipop; 1F36D; ;
mushroom; 1F344; toadstool;
orange; 1F34A; tangerine;
pancakes; 1F95E; ;s
peach; 1F351; ;
pear; 1F350; ;
pineapple; 1F34D; ;
pizza; 1F355; slice of pizza;m+
popcorn; 1F37F; ;m
pretzel; 1F968; ;
pumpkin; 1F383; jack-o'-lantern;
sandwich; 1F96A; ;
strawberry; 1F353; ;
sushi; 1F363; ;m
taco; 1F32E; ;
tomato; 1F345; ;
watermelon; 1F349; slice of watermelon;m
beer; 1F37A; mug of beer;m
coffee; 2615; cup of coffee;m+
wine; 1F377; glass of wine;m
teapot; 1FAD6; ;
airplane; 2708; plane,jet;+
ambulance; 1F691; ;f
bicycle; 1F6B2; bike;p+
bus; 1F68C; coach;+
canoe; 1F6F6; ;p
car; 1F697; automobile;p+
fire truck; 1F692; fire engine;
helicopter; 1F681; ;
motorcycle; 1F3CD; motorbike;
pickup truck; 1F6FB; pickup;p
rocket; 1F680; spaceship;
sailboat; 26F5; sailing boat;
scooter; 1F6F5; moped;
steam train; 1F682; steam locomotive;
taxi; 1F695; cab;
tractor; 1F69C; ;
train; 1F686; ;+
alarm clock; 23F0; clock;
anchor; 2693; ;
backpack; 1F392; rucksack,school bag;p
balloon; 1F388; ;p+
basketball; 1F3C0; ;
bed; 1F6CF; ;
book; 1F4D5; ;p+
boxing glove; 1F94A; ;p
bucket; 1FAA3; pail;p
cactus; 1F335; ;
camera; 1F4F7; ;
castle; 1F3F0; ;
chair; 1FA91; ;p
Christmas tree; 1F384; ;
couch; 1F6CB; sofa;p
crown; 1F451; ;
diamond; 1F48E; gem;
dress; 1F457; ;p
drum; 1F941; ;
game controller; 1F3AE; gamepad;
gift; 1F381; present,gift box;
glasses; 1F453; eyeglasses;r
globe; 1F30D; ;
gloves; 1F9E4; mittens;rp
guitar; 1F3B8; electric guitar;
hammer; 1F528; ;
headphones; 1F3A7; ;r
high heel; 1F460; ;
house; 1F3E0; home;+
jeans; 1F456; pants,trousers;r
key; 1F511; ;
kite; 1FA81; ;p
ladder; 1FA9C; ;
laptop; 1F4BB; notebook computer;
light bulb; 1F4A1; lightbulb;
magnifying glass; 1F50D; ;
microphone; 1F3A4; mic;
microscope; 1F52C; ;-
mobile phone; 1F4F1; smartphone,cell phone;
paint palette; 1F3A8; artist's palette;
palm tree; 1F334; palm;
pencil; 270F; ;
piano; 1F3B9; piano keys;
rainbow; 1F308; ;
ring; 1F48D; diamond ring;
robot; 1F916; ;
rose; 1F339; red rose;
saxophone; 1F3B7; sax;
scarf; 1F9E3; ;p
scissors; 2702; ;r
shopping cart; 1F6D2; shopping trolley;
shovel; 1FA8F; spade;
sneaker; 1F45F; running shoe;
snowman; 26C4; ;
soccer ball; 26BD; ;
socks; 1F9E6; ;rp
stop sign; 1F6D1; ;f
suitcase; 1F9F3; travel case;
sunflower; 1F33B; ;
sunglasses; 1F576; shades;r
t-shirt; 1F455; shirt,tee;p
teddy bear; 1F9F8; stuffed bear;
telephone; 260E; phone;p
television; 1F4FA; TV;
tent; 26FA; ;
toilet; 1F6BD; ;
toothbrush; 1FAA5; ;
top hat; 1F3A9; ;
traffic light; 1F6A6; stoplight;
tree; 1F333; leafy tree;+
trophy; 1F3C6; winner's cup;
umbrella; 2602; parasol;p+
vase; 1F3FA; amphora;
violin; 1F3BB; fiddle;
volcano; 1F30B; ;
watch; 231A; wristwatch;
wrench; 1F527; spanner;
"""


@dataclass(frozen=True)
class Pictogram:
    """One class of things: how it is called and which glyphs of the font show it."""

    name: str
    glyphs: tuple[str, ...]
    synonyms: tuple[str, ...]
    number: str  # "count", "mass", "plural" or "pair"
    paintable: bool
    mirrors: bool
    weight: float  # how often a scene shows it, relative to the others


def _parse(line: str) -> Pictogram:
    name, codes, synonyms, flags = (part.strip() for part in line.split(";"))
    number = next(
        (word for flag, word in (("m", "mass"), ("s", "plural"), ("r", "pair")) if flag in flags), "count"
    )
    return Pictogram(
        name=name,
        glyphs=tuple(chr(int(code, 16)) for code in codes.split(",")),
        synonyms=tuple(word.strip() for word in synonyms.split(",") if word.strip()),
        number=number,
        paintable="p" in flags,
        mirrors="f" not in flags,
        weight=2.0 if "+" in flags else 0.35 if "-" in flags else 1.0,
    )


PICTOGRAMS: dict[str, Pictogram] = {
    picture.name: picture for picture in map(_parse, _TABLE.strip().splitlines())
}
CLASS_NAMES: list[str] = list(PICTOGRAMS)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 52, 48),
    "orange": (240, 140, 40),
    "yellow": (250, 214, 70),
    "green": (86, 168, 76),
    "blue": (58, 122, 206),
    "light blue": (160, 212, 244),
    "purple": (136, 88, 176),
    "pink": (244, 156, 190),
    "brown": (140, 98, 64),
    "gray": (160, 164, 168),
    "white": (246, 246, 244),
    "black": (34, 34, 38),
    "teal": (40, 154, 150),
    "beige": (232, 216, 184),
}
PAINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
