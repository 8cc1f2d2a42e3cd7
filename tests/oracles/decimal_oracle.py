"""Answers cases about numbers from stdin, with Python's `decimal` as IEEE 754-2008 has it; see tests/oracles/main.rs for their form.

It knows a few operators on fields of one level, whose values are numbers: no more than the generator of these cases makes.
Doubles become decimals as the server has it: with 15 significant digits, and with 34 where `$sum`, `$avg` and `$add` have
summed them before they meet a decimal. Comparisons round nothing.
"""

import json
import math
import sys
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, localcontext, setcontext
from fractions import Fraction
from functools import cmp_to_key

DECIMAL128 = Context(prec=34, rounding=ROUND_HALF_EVEN, Emin=-6143, Emax=6144, clamp=1, traps=[])
# For what is exact before it is rounded.
WIDE = Context(prec=20_000, rounding=ROUND_HALF_EVEN, Emin=-99_999, Emax=99_999, traps=[])


class Refused(Exception):
    """What the server refuses, too."""


def decode(value):
    if isinstance(value, list):
        return [decode(element) for element in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$numberDecimal"), str):
        return DECIMAL128.create_decimal(value["$numberDecimal"])
    if isinstance(value.get("$numberDouble"), str):
        return float(value["$numberDouble"])
    return {name: decode(field) for name, field in value.items()}


def encode(value):
    if isinstance(value, list):
        return [encode(element) for element in value]
    if isinstance(value, dict):
        return {name: encode(field) for name, field in value.items()}
    if isinstance(value, Decimal):
        return {"$numberDecimal": "NaN" if value.is_nan() else str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value


def is_nan(number):
    return number.is_nan() if isinstance(number, Decimal) else math.isnan(number)


def is_infinite(number):
    return number.is_infinite() if isinstance(number, Decimal) else math.isinf(number)


def rank(number):
    """Where a number stands: NaN before all others, and the infinities around those that are finite."""
    if is_nan(number):
        return (0, 0)
    if is_infinite(number):
        return (1, 0) if number < 0 else (3, 0)
    return (2, Fraction(number))


def compare(left, right):
    left, right = rank(left), rank(right)
    return (left > right) - (left < right)


def decimal(number, digits=15):
    """As the server converts it."""
    if isinstance(number, float):
        if not math.isfinite(number) or number == 0:
            return DECIMAL128.create_decimal(number)
        exact = Decimal(number)
        if digits == 34:
            return DECIMAL128.create_decimal(exact)
        # All of the fifteen digits, zeros included.
        return DECIMAL128.create_decimal(f"{exact:.14e}")
    return DECIMAL128.create_decimal(number)


def has_decimal(numbers):
    return any(isinstance(number, Decimal) for number in numbers)


def whole(number):
    """An int of 32 or 64 bits, else a double: JSON does not tell which."""
    return number if -(2**63) <= number < 2**63 else float(number)


def plain_sum(numbers):
    if any(isinstance(number, float) for number in numbers):
        if not all(map(math.isfinite, numbers)):
            return sum(map(float, numbers))
        total = sum(map(Fraction, numbers))
        try:
            return float(total)
        except OverflowError:
            return math.inf if total > 0 else -math.inf
    return whole(sum(numbers))


def exact_total(numbers):
    """Of ints and doubles, as a decimal. The cases have no doubles of which a sum would be rounded."""
    whole_numbers = sum(number for number in numbers if not isinstance(number, float))
    doubles = sum(number for number in numbers if isinstance(number, float))
    return DECIMAL128.add(Decimal(whole_numbers), decimal(doubles, digits=34))


def summed(numbers):
    """As `$sum` and `$avg` do: what is no decimal apart, and together at the end."""
    if not has_decimal(numbers):
        return plain_sum(numbers)
    total = Decimal(0)
    for number in numbers:
        if isinstance(number, Decimal):
            total = DECIMAL128.add(total, number)
    return DECIMAL128.add(total, exact_total([number for number in numbers if not isinstance(number, Decimal)]))


def add(numbers):
    """From left to right, and in decimals from the first one on."""
    if not has_decimal(numbers):
        return plain_sum(numbers)
    first = next(at for at, number in enumerate(numbers) if isinstance(number, Decimal))
    total = exact_total(numbers[:first])
    for number in numbers[first:]:
        total = DECIMAL128.add(total, decimal(number))
    return total


def multiply(numbers):
    product = 1
    for number in numbers:
        if has_decimal([product, number]):
            product = DECIMAL128.multiply(decimal(product), decimal(number))
        elif isinstance(product, float) or isinstance(number, float):
            product = float(product) * float(number)
        else:
            product = whole(product * number)
    return product


def subtract(left, right):
    if has_decimal([left, right]):
        return DECIMAL128.subtract(decimal(left), decimal(right))
    return plain_sum([left, -right])


def divide(left, right):
    if right == 0:
        raise Refused("by zero")
    if has_decimal([left, right]):
        return DECIMAL128.divide(decimal(left), decimal(right))
    return float(left) / float(right)


def modulo(left, right):
    if right == 0:
        raise Refused("by zero")
    if not has_decimal([left, right]):
        return math.fmod(left, right)
    left, right = decimal(left), decimal(right)
    if left.is_nan() or right.is_nan() or left.is_infinite():
        return Decimal("NaN")
    if right.is_infinite():
        return left
    # The standard's remainder is exact, however long the quotient is.
    with localcontext(WIDE):
        exact = left % right
    return DECIMAL128.create_decimal(exact)


def quantized(number, place, rounding):
    if not isinstance(number, Decimal):
        raise Refused("only decimals are asked about")
    if not number.is_finite():
        return number
    with localcontext(WIDE):
        rounded = number.quantize(Decimal(1).scaleb(-place), rounding=rounding)
    return DECIMAL128.create_decimal(rounded)


def square_root(number):
    if number < 0:
        raise Refused("below zero")
    return DECIMAL128.sqrt(number) if isinstance(number, Decimal) else math.sqrt(number)


def to_whole(number, bits):
    if is_nan(number) or is_infinite(number):
        raise Refused("not finite")
    result = int(number)
    if not -(2 ** (bits - 1)) <= result < 2 ** (bits - 1):
        raise Refused("does not fit")
    return result


def to_double(number):
    result = float(number)
    if math.isinf(result) and not is_infinite(number):
        raise Refused("does not fit")
    return result


def average(numbers):
    total = summed(numbers)
    if isinstance(total, Decimal):
        return DECIMAL128.divide(total, Decimal(len(numbers)))
    return total / len(numbers)


OPERATORS = {
    "$abs": lambda number: number.copy_abs() if isinstance(number, Decimal) else abs(number),
    "$add": lambda *numbers: add(numbers),
    "$avg": lambda *numbers: average(numbers),
    "$ceil": lambda number: quantized(number, 0, ROUND_CEILING),
    "$cmp": compare,
    "$divide": divide,
    "$eq": lambda left, right: compare(left, right) == 0,
    "$floor": lambda number: quantized(number, 0, ROUND_FLOOR),
    "$gt": lambda left, right: compare(left, right) > 0,
    "$gte": lambda left, right: compare(left, right) >= 0,
    "$lt": lambda left, right: compare(left, right) < 0,
    "$lte": lambda left, right: compare(left, right) <= 0,
    "$max": lambda *numbers: extreme(numbers, 1),
    "$min": lambda *numbers: extreme(numbers, -1),
    "$mod": modulo,
    "$multiply": lambda *numbers: multiply(numbers),
    "$ne": lambda left, right: compare(left, right) != 0,
    "$round": lambda number, place: quantized(number, place, ROUND_HALF_EVEN),
    "$sqrt": square_root,
    "$subtract": subtract,
    "$sum": lambda *numbers: summed(numbers),
    "$toDecimal": decimal,
    "$toDouble": to_double,
    "$toInt": lambda number: to_whole(number, 32),
    "$toLong": lambda number: to_whole(number, 64),
    "$toString": lambda number: encode(number)["$numberDecimal"],
    "$trunc": lambda number, place: quantized(number, place, ROUND_DOWN),
}


def extreme(numbers, sign):
    """The first of those that are equal."""
    best = numbers[0]
    for number in numbers[1:]:
        if compare(number, best) == sign:
            best = number
    return best


def evaluate(expression, document):
    if isinstance(expression, str):
        return document[expression.removeprefix("$")]
    if not isinstance(expression, dict):
        return expression
    ((operator, operands),) = expression.items()
    operands = operands if isinstance(operands, list) else [operands]
    return OPERATORS[operator](*(evaluate(operand, document) for operand in operands))


def comparable(left, right):
    """Whether a filter compares them by order: NaN is only equal to itself."""
    return is_nan(left) == is_nan(right)


CONDITIONS = {
    "$eq": lambda value, operand: compare(value, operand) == 0,
    "$ne": lambda value, operand: compare(value, operand) != 0,
    "$gt": lambda value, operand: comparable(value, operand) and compare(value, operand) > 0,
    "$gte": lambda value, operand: comparable(value, operand) and compare(value, operand) >= 0,
    "$lt": lambda value, operand: comparable(value, operand) and compare(value, operand) < 0,
    "$lte": lambda value, operand: comparable(value, operand) and compare(value, operand) <= 0,
    "$in": lambda value, operands: any(compare(value, operand) == 0 for operand in operands),
    "$nin": lambda value, operands: all(compare(value, operand) != 0 for operand in operands),
    "$type": lambda value, kind: isinstance(value, Decimal) == (kind == "decimal"),
}


def matches(document, query):
    return all(
        CONDITIONS[operator](document[name], operand)
        for name, condition in query.items()
        for operator, operand in condition.items()
    )


UPDATES = {
    "$inc": lambda old, operand: add_one(old, operand),
    "$mul": lambda old, operand: multiply_one(old, operand),
    "$min": lambda old, operand: operand if compare(operand, old) < 0 else old,
    "$max": lambda old, operand: operand if compare(operand, old) > 0 else old,
}


def add_one(old, operand):
    """Of two numbers, each converted by itself."""
    if has_decimal([old, operand]):
        return DECIMAL128.add(decimal(old), decimal(operand))
    return old + operand


def multiply_one(old, operand):
    if has_decimal([old, operand]):
        return DECIMAL128.multiply(decimal(old), decimal(operand))
    return old * operand


def update(document, changes):
    for operator, operands in changes.items():
        for name, operand in operands.items():
            new = UPDATES[operator](document[name], operand)
            if isinstance(new, int) and not -(2**63) <= new < 2**63:
                raise Refused("overflow")
            document[name] = new
    return document


def aggregate(documents, pipeline):
    for stage in pipeline:
        ((name, what),) = stage.items()
        if name == "$sort":
            for field, direction in reversed(what.items()):
                documents.sort(key=cmp_to_key(lambda a, b: direction * compare(a[field], b[field])))
        elif name == "$project":
            documents = [
                {"_id": document["_id"], **{field: evaluate(value, document) for field, value in what.items()}}
                for document in documents
            ]
        elif name == "$group":
            fields = {field: accumulator for field, accumulator in what.items() if field != "_id"}
            group = {"_id": None}
            for field, accumulator in fields.items():
                ((operator, expression),) = accumulator.items()
                group[field] = OPERATORS[operator](*(evaluate(expression, document) for document in documents))
            documents = [group]
    return documents


def answer(case):
    documents = case["documents"]
    if case["kind"] == "find":
        return [document["_id"] for document in documents if matches(document, case["filter"])]
    if case["kind"] == "update":
        return [update(document, case["update"]) for document in documents]
    return aggregate(documents, case["pipeline"])


setcontext(DECIMAL128)
for line in sys.stdin:
    try:
        result = {"documents": encode(answer(decode(json.loads(line))))}
    except Refused as error:
        result = {"error": str(error)}
    print(json.dumps(result))
