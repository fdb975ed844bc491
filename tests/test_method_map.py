"""The map of PEFT: its data agree with themselves and with the package, and the drawing can be read by everyone."""

import xml.etree.ElementTree as ET

import pytest

from lora_edu.method_map import FAMILIES, LAYOUTS, METHODS, STAYS, MethodMap

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(params=[(layout, tutorial) for layout in LAYOUTS for tutorial in (False, True)], ids=str)
def drawing(request):
    layout, tutorial = request.param
    return ET.fromstring(MethodMap(tutorial).svg(layout)), LAYOUTS[layout]


def test_every_method_has_a_family_a_known_remainder_and_a_name_of_its_own():
    assert len({method.name for method in METHODS}) == len(METHODS)
    for method in METHODS:
        assert method.family in FAMILIES and method.stays and set(method.stays) <= set(STAYS)
        assert not method.group or all(method.group in layout.groups for layout in LAYOUTS.values())


def test_lora_is_a_reparametrization_and_folds():
    (lora,) = (method for method in METHODS if method.name == "LoRA")
    assert (lora.family, lora.stays) == ("reparametrization", ("weights",))


def test_each_town_is_drawn_once_as_text_in_each_layout(drawing):
    svg, _ = drawing
    words = [text.text for text in svg.iter(f"{SVG}text")]
    for method in METHODS:
        assert words.count(method.name) == 1, method.name


def test_the_drawing_names_and_describes_itself(drawing):
    svg, _ = drawing
    assert svg.get("role") == "img"
    title, desc = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
    assert svg.get("aria-labelledby") == title.get("id") and svg.get("aria-describedby") == desc.get("id")
    assert all(method.name in desc.text for method in METHODS)


def test_text_has_the_colour_of_the_page_and_no_size_below_thirteen(drawing):
    svg, _ = drawing
    assert svg.get("fill") == "currentColor"
    for text in svg.iter(f"{SVG}text"):
        assert text.get("fill") is None and int(text.get("font-size")) >= 13


def test_text_stays_inside_the_drawing_and_towns_do_not_touch(drawing):
    svg, layout = drawing
    width, height = layout.size
    places = []
    for text in svg.iter(f"{SVG}text"):
        x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
        long = 0.56 * size * len(text.text)  # a letter of a sans face is about half as wide as high
        left = x - long / 2 if text.get("text-anchor") == "middle" else x
        assert left >= 0 and left + long <= width and size <= y <= height, text.text
        places.append((left, left + long, y - size, y))
    for i, (a, b, c, d) in enumerate(places):
        for e, f, g, h in places[:i]:
            assert b <= e or f <= a or d <= g or h <= c


def test_only_the_map_of_the_tutorial_shows_its_error_in_the_picture_and_in_words():
    plain, wrong = MethodMap(), MethodMap(tutorial=True)
    for layout in LAYOUTS:
        assert "the tutorial" in wrong.svg(layout) and "the tutorial" not in plain.svg(layout)
    assert "tutorial" in repr(wrong) and "tutorial" not in repr(plain)


def test_a_page_gets_both_layouts_with_ids_of_their_own_and_asks_for_nothing():
    page = MethodMap(tutorial=True)._repr_html_()
    ids = [element.get("id") for element in ET.fromstring(page).iter() if element.get("id")]
    assert len(ids) == len(set(ids)) == 4
    assert page.count("<svg") == 2 and "url(" not in page and "href" not in page
    assert page == MethodMap(tutorial=True)._repr_html_()
