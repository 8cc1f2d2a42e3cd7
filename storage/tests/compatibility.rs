//! `docs/compatibility.md` names every operator and stage of MongoDB's manual, and says of each the truth: what is in is known
//! here, what is out is refused.

use bson::{Bson, RawDocumentBuf, doc};
use tailwater_matcher::{Accumulator, Expression, ParseError, ValueExpression};
use tailwater_storage::update::Update;
use tailwater_storage::{AggregateErrorKind, Error, Pipeline};

const PAGE: &str = include_str!("../../docs/compatibility.md");

/// The manual's operators of queries (*Query and Projection Operators*).
const QUERY: &str = "$eq $gt $gte $in $lt $lte $ne $nin $and $not $nor $or $exists $type $expr $jsonSchema $mod $regex $text \
    $where $geoIntersects $geoWithin $near $nearSphere $all $elemMatch $size $bitsAllClear $bitsAllSet $bitsAnyClear \
    $bitsAnySet $comment $sampleRate";

/// Of updates (*Update Operators*), the modifiers of `$push` left out.
const UPDATES: &str =
    "$currentDate $inc $min $max $mul $rename $set $setOnInsert $unset $addToSet $pop $pull $push $pullAll $bit";

/// Of expressions (*Aggregation Operators*).
const EXPRESSIONS: &str = "$abs $acos $acosh $add $allElementsTrue $and $anyElementTrue $arrayElemAt $arrayToObject $asin $asinh \
    $atan $atan2 $atanh $avg $binarySize $bitAnd $bitNot $bitOr $bitXor $bsonSize $ceil $cmp $concat $concatArrays $cond \
    $convert $cos $cosh $dateAdd $dateDiff $dateFromParts $dateFromString $dateSubtract $dateToParts $dateToString $dateTrunc \
    $dayOfMonth $dayOfWeek $dayOfYear $degreesToRadians $divide $eq $exp $filter $first $firstN $floor $function $getField $gt \
    $gte $hour $ifNull $in $indexOfArray $indexOfBytes $indexOfCP $isArray $isNumber $isoDayOfWeek $isoWeek $isoWeekYear $last \
    $lastN $let $literal $ln $log $log10 $lt $lte $ltrim $map $max $maxN $median $mergeObjects $meta $min $minN $millisecond \
    $minute $mod $month $multiply $ne $not $objectToArray $or $percentile $pow $radiansToDegrees $rand $range $reduce $regexFind \
    $regexFindAll $regexMatch $replaceAll $replaceOne $reverseArray $round $rtrim $sampleRate $second $setDifference $setEquals \
    $setField $setIntersection $setIsSubset $setUnion $sigmoid $sin $sinh $size $slice $sortArray $split $sqrt $stdDevPop \
    $stdDevSamp $strcasecmp $strLenBytes $strLenCP $substr $substrBytes $substrCP $subtract $sum $switch $tan $tanh $toBool \
    $toDate $toDecimal $toDouble $toHashedIndexKey $toInt $toLong $toLower $toObjectId $toString $toUpper $toUUID $trim $trunc \
    $tsIncrement $tsSecond $type $unsetField $week $year $zip";

/// Accumulators of `$group`.
const ACCUMULATORS: &str = "$accumulator $addToSet $avg $bottom $bottomN $count $first $firstN $last $lastN $max $maxN $median \
    $mergeObjects $min $minN $percentile $push $stdDevPop $stdDevSamp $sum $top $topN";

/// What only `$setWindowFields` knows.
const WINDOW: &str = "$covariancePop $covarianceSamp $denseRank $derivative $documentNumber $expMovingAvg $integral $linearFill \
    $locf $rank $shift";

/// Stages (*Aggregation Stages*).
const STAGES: &str = "$addFields $bucket $bucketAuto $changeStream $changeStreamSplitLargeEvent $collStats $count $currentOp \
    $densify $documents $facet $fill $geoNear $graphLookup $group $indexStats $limit $listClusterCatalog $listLocalSessions \
    $listSampledQueries $listSearchIndexes $listSessions $lookup $match $merge $out $planCacheStats $project $querySettings \
    $queryStats $rankFusion $redact $replaceRoot $replaceWith $sample $search $searchMeta $set $setWindowFields \
    $shardedDataDistribution $skip $sort $sortByCount $unionWith $unset $unwind $vectorSearch";

fn raw(name: &str, operand: impl Into<Bson>) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&doc! { name: operand.into() }).unwrap()
}

fn is_unknown(error: &ParseError) -> bool {
    let named = matches!(
        error,
        ParseError::UnknownOperator { .. } | ParseError::NotSupported { .. }
    );
    named || error.code() == 168
}

fn knows_query(name: &str) -> bool {
    let refused = |filter: RawDocumentBuf| Expression::parse(&filter).is_err_and(|error| is_unknown(&error));
    let pattern = doc! { name: 1, "$regex": "a" };
    !refused(raw(name, 1)) || !refused(raw("field", doc! { name: 1 })) || !refused(raw("field", pattern))
}

fn knows_expression(name: &str) -> bool {
    let expression = bson::RawBson::Document(raw(name, Vec::<Bson>::new()));
    let parsed = ValueExpression::parse(expression.as_raw_bson_ref());
    !parsed.is_err_and(|error| is_unknown(&error))
}

fn knows_accumulator(name: &str) -> bool {
    !Accumulator::parse(&raw(name, 1)).is_err_and(|error| is_unknown(&error))
}

fn knows_update(name: &str) -> bool {
    let refused = Update::parse(&raw(name, doc! { "field": 1 })).err();
    // FailedToParse: "Unknown modifier".
    refused.is_none_or(|error| !error.to_string().contains("unknown"))
}

fn knows_stage(name: &str) -> bool {
    match Pipeline::parse(&[raw(name, 1)]) {
        Err(Error::Aggregate(error)) => !matches!(
            error.kind,
            AggregateErrorKind::UnknownStage | AggregateErrorKind::NotSupported { .. }
        ),
        _ => true,
    }
}

/// The names in backticks of the lines between two texts of the page.
fn named(from: &str, to: &str) -> Vec<&'static str> {
    let begin = PAGE.find(from).unwrap_or_else(|| panic!("the page has {from:?}"));
    let rest = &PAGE[begin..];
    let end = rest
        .find(to)
        .unwrap_or_else(|| panic!("the page has {to:?} behind {from:?}"));
    rest[..end].split('`').filter(|text| is_name(text)).collect()
}

fn is_name(text: &str) -> bool {
    text.strip_prefix('$')
        .is_some_and(|name| !name.is_empty() && name.chars().all(char::is_alphanumeric))
}

/// Of each name of the manual: that the page has it where it belongs.
fn check(names: &str, knows: fn(&str) -> bool, is_in: &[&str], is_out: &[&str]) {
    for name in names.split_whitespace() {
        let known = knows(name);
        let place = if known { is_in } else { is_out };
        assert!(
            place.contains(&name),
            "{name} is known here: {known}, and the page does not say so"
        );
    }
    for name in is_in {
        assert!(knows(name), "the page says that {name} is in");
    }
}

#[test]
fn the_page_tells_of_every_operator_whether_it_is_here() {
    let query_in = named("| operators of filters | in |", "\n\n");
    let query_out = named(
        "| what | MongoDB | Tailwater | reason |",
        "| regular expressions: engine",
    );
    check(QUERY, knows_query, &query_in, &query_out);

    let expressions_in = named("| family | in |", "| variables, literals |");
    let expressions_in = [expressions_in, named("| size |", "\n\n"), vec!["$let", "$literal"]].concat();
    let out = named("| out | why |", "\n\n");
    check(EXPRESSIONS, knows_expression, &expressions_in, &out);
    let accumulators_in = named("Accumulators of `$group`: ", "\n\n");
    let accumulators_in: Vec<_> = accumulators_in.into_iter().filter(|name| *name != "$group").collect();
    check(ACCUMULATORS, knows_accumulator, &accumulators_in, &out);
    check(
        WINDOW,
        |name| knows_expression(name) || knows_accumulator(name),
        &[],
        &out,
    );

    let updates_in = named("| operators | here |", "| `$push` with");
    let updates_in = [updates_in, vec!["$push", "$addToSet", "$pop", "$pull", "$pullAll"]].concat();
    check(UPDATES, knows_update, &updates_in, &[]);

    let stages_in = [
        named("`$match`, `$project`, `$addFields`", " work on single documents"),
        named("| stages | here |", "\n\n"),
    ];
    let names: Vec<_> = STAGES.split_whitespace().collect();
    let stages_in: Vec<_> = stages_in
        .concat()
        .into_iter()
        .filter(|name| names.contains(name))
        .collect();
    let stages_out = named("`$indexStats` `$collStats`", "are refused by name");
    check(STAGES, knows_stage, &stages_in, &stages_out);
}
