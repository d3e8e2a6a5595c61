//! The search against a checker that tries everything, on small random histories of every model.

use chronon_core::types::Prng;

use super::beam::explains;
use super::course::Course;
use super::generate::{self, Recipe};
use super::log_order::SharedLog;
use super::search::{Outcome, search};
use super::sweep::Effort;
use super::tail::{Tail, since};
use super::{
    Bank, BankOp, Books, Evidence, History, Judged, Limit, Limits, Log, LogOp, Model, Mutex, MutexOp, Queue,
    QueueOp, Register, RegisterOp, Text, TextOp, Timed, Verdict, check, judge, proves,
};

/// Whether some order explains every answer, by trying all.
fn is_linearizable<M: Model>(model: &M, operations: &[Timed<M::Op>]) -> bool {
    let todo: Vec<usize> = (0..operations.len()).collect();
    goes_on(model, operations, &model.initial(), &todo)
}

fn goes_on<M: Model>(model: &M, operations: &[Timed<M::Op>], state: &M::State, todo: &[usize]) -> bool {
    let end = |index: &usize| operations[*index].returned.unwrap_or(u64::MAX);
    let Some(first_end) = todo.iter().map(end).min() else { return true };
    if first_end == u64::MAX {
        return true;
    }
    todo.iter().any(|&next| {
        let timed = &operations[next];
        if timed.invoked > first_end {
            return false;
        }
        let Some(state) = model.step(state, &timed.op) else { return false };
        let rest: Vec<usize> = todo.iter().copied().filter(|index| *index != next).collect();
        goes_on(model, operations, &state, &rest)
    })
}

/// A history that took place, except that one answer in `lie` is of an earlier state, or of one that never was, and one
/// in ten was lost. `draw` makes an operation with the answer that the object gives in the state, and as it is when
/// that is lost.
fn random_history<M: Model>(
    model: &M,
    prng: &mut Prng,
    lie: u64,
    draw: impl Fn(&mut Prng, &M::State) -> (M::Op, M::Op),
) -> Vec<Timed<M::Op>> {
    let count = prng.between(2, 8) as usize;
    let processes = prng.between(2, 4);
    // Operation n of a process is open somewhere within [100 n, 100 n + 199], and takes effect within that.
    let mut spans = Vec::new();
    for index in 0..count {
        let base = 100 * (index as u64 / processes);
        let begin = base + prng.below(100);
        let end = begin + 1 + prng.below(150);
        spans.push((prng.between(begin, end), begin, end));
    }
    spans.sort_unstable();
    let mut state = model.initial();
    let mut earlier = vec![model.initial()];
    let mut operations = Vec::new();
    for (at, (_, begin, end)) in spans.into_iter().enumerate() {
        let lies = prng.below(lie) == 0;
        let other = &earlier[prng.below(earlier.len() as u64) as usize];
        let (answered, lost) = draw(prng, if lies { other } else { &state });
        let is_lost = prng.below(10) == 0;
        let op = if is_lost { lost } else { answered };
        let takes_effect = (!is_lost && !lies) || prng.below(2) == 0;
        if takes_effect && let Some(next) = model.step(&state, &op) {
            state = next;
            earlier.push(state.clone());
        }
        // Places must differ, as they do among the events of a history.
        let returned = (!is_lost).then_some(end * 16 + at as u64);
        operations.push(Timed { op, invoked: begin * 16 + at as u64, returned });
    }
    operations
}

/// Holds the checker against the exhaustive search on `cases` histories, as many of either verdict.
fn agrees<M: Model>(model: &M, cases: u64, draw: impl Fn(&mut Prng, &M::State) -> (M::Op, M::Op)) {
    agrees_and(model, cases, draw, |operations, evidence| is_proof(model, operations, evidence));
}

fn agrees_and<M: Model>(
    model: &M,
    cases: u64,
    draw: impl Fn(&mut Prng, &M::State) -> (M::Op, M::Op),
    is_proof: impl Fn(&[Timed<M::Op>], &Evidence),
) {
    let mut prng = Prng::from_key([11; 32]);
    let mut both = [0_u64; 2];
    for case in 0..20 * cases {
        let lie = prng.between(1, 6);
        let operations = random_history(model, &mut prng, lie, &draw);
        let expected = is_linearizable(model, &operations);
        if both[usize::from(expected)] == cases / 2 {
            continue;
        }
        both[usize::from(expected)] += 1;
        efforts_agree(model, &operations, expected);
        match judge(model, &operations, Limits::default()) {
            Judged::Linearizable if expected => {}
            Judged::Violation(evidence) if !expected => is_proof(&operations, &evidence),
            judged => panic!("case {case}: {judged:?}, but linearizable is {expected}\n{operations:#?}"),
        }
    }
    assert_eq!(both, [cases / 2; 2], "too few histories of one verdict");
}

/// Every kind of search is right about what it promises, also where another one would have spoken first.
fn efforts_agree<M: Model>(model: &M, operations: &[Timed<M::Op>], expected: bool) {
    let Limits { configurations_max, steps_max } = Limits::default();
    let full = Effort { width: configurations_max, spare: None, loose: false, rough: false, steps_max };
    let told = |effort| match search(model, operations, effort) {
        Outcome::Linearizable => Some(true),
        Outcome::Stuck { .. } => Some(false),
        Outcome::GaveUp(_) => None,
    };
    assert_eq!(told(full), Some(expected), "a full search of {operations:#?}");
    let others = [
        Effort { width: 1, ..full },
        Effort { width: 1, spare: Some(0), rough: true, ..full },
        Effort { rough: true, ..full },
        Effort { width: 64, loose: true, ..full },
    ];
    for effort in others {
        let told = told(effort);
        assert!(told.is_none_or(|told| told == expected), "{effort:?} said {told:?} of {operations:#?}");
    }
    let narrow = Limits { configurations_max: 64, steps_max: 1_000 };
    assert!(expected || !explains(&Course::new(model, operations), narrow), "{operations:#?}");
}

/// The operations that a violation names are not linearizable by themselves, and one that changes nothing is not among
/// them without need.
fn is_proof<M: Model>(model: &M, operations: &[Timed<M::Op>], evidence: &Evidence) {
    let end = operations[evidence.failed].returned.expect("what failed was answered");
    let cut = |index: &usize| {
        let timed = operations[*index].clone();
        Timed { returned: timed.returned.filter(|at| *at <= end), ..timed }
    };
    let holds = |kept: &[usize]| {
        let kept: Vec<_> = kept.iter().map(cut).collect();
        match evidence.since {
            Some(begin) => is_linearizable(&Tail(model), &since(&kept, begin)),
            None => is_linearizable(model, &kept),
        }
    };
    let all = &evidence.operations;
    assert!(!holds(all), "{evidence:?} proves nothing of {operations:#?}");
    assert!(all.contains(&evidence.failed) && evidence.is_smallest);
    for index in all.iter().filter(|index| model.is_needless(&operations[**index].op)) {
        let fewer: Vec<usize> = all.iter().copied().filter(|other| other != index).collect();
        assert!(holds(&fewer), "{evidence:?} holds without {index}: {operations:#?}");
    }
}

fn registers_agree(least: u64, most: u64) {
    agrees(&Register, 30_000, |prng, state| {
        let value = |prng: &mut Prng| prng.between(least, most) as u32;
        match prng.below(4) {
            0 => (RegisterOp::Read(*state), RegisterOp::Read(*state)),
            1 => {
                let write = RegisterOp::Write(value(prng));
                (write, write)
            }
            _ => {
                let (from, to) = (value(prng), value(prng));
                let swap = RegisterOp::swap(from, to);
                let told = match (from == *state, prng.below(2)) {
                    (true, _) => swap,
                    (false, 0) => RegisterOp::Differs(from),
                    (false, _) => RegisterOp::mismatch(from, *state),
                };
                (told, swap)
            }
        }
    });
}

#[test]
fn registers_agree_with_the_exhaustive_search() {
    registers_agree(0, 3);
}

#[test]
fn registers_of_unique_values_agree_with_the_exhaustive_search() {
    registers_agree(1, 1_000_000);
}

#[test]
fn banks_agree_with_the_exhaustive_search() {
    agrees(&Bank::closed(3), 30_000, |prng, state| {
        let Books::Known(balances) = state else { panic!("accounts are opened here") };
        let account = prng.below(3) as usize;
        let balance = balances[account];
        let look = match (balance, prng.below(3)) {
            (None, _) => BankOp::Missing(account),
            (Some(_), 0) => BankOp::Present(account),
            (Some(balance), _) => BankOp::Balance(account, balance as u64),
        };
        let pure = |op: BankOp| (op.clone(), op);
        match prng.below(8) {
            0 => pure(look),
            1 => {
                let total: u128 = balances.iter().flatten().sum();
                pure(BankOp::Audit(balances.iter().flatten().count() as u64, total as u64))
            }
            2 => {
                let seen = balances.iter().enumerate().filter_map(|(a, b)| Some((a, (*b)? as u64)));
                pure(BankOp::Read(seen.collect()))
            }
            3 | 4 => {
                let open = BankOp::Open(account, prng.between(1, 3));
                if balance.is_none() { pure(open) } else { (look, open) }
            }
            _ => {
                let transfer = BankOp::Transfer(account, prng.below(3) as usize, prng.between(1, 3));
                let took_place = Bank::closed(3).step(state, &transfer).is_some();
                if took_place { pure(transfer) } else { (look, transfer) }
            }
        }
    });
}

#[test]
fn founded_banks_agree_with_the_exhaustive_search() {
    agrees(&Bank::founded(2), 30_000, |prng, state| {
        let balances = match state {
            Books::Known(balances) => balances.iter().map(|balance| balance.unwrap_or(0) as u64).collect(),
            Books::Unseen => vec![prng.between(4, 5), prng.between(4, 5)],
        };
        let op = match prng.below(4) {
            0..=2 => BankOp::Read(balances.into_iter().enumerate().collect()),
            _ => {
                let transfer =
                    BankOp::Transfer(prng.below(2) as usize, prng.below(2) as usize, prng.between(1, 4));
                let took_place = Bank::founded(2).step(state, &transfer).is_some();
                if took_place { transfer } else { BankOp::Read(balances.into_iter().enumerate().collect()) }
            }
        };
        (op.clone(), op)
    });
}

#[test]
fn mutexes_agree_with_the_exhaustive_search() {
    agrees(&Mutex, 20_000, |prng, held| {
        let other = if prng.below(8) == 0 { !held } else { *held };
        let op = if other { MutexOp::Release } else { MutexOp::Acquire };
        (op, op)
    });
}

fn queues_agree(least: u64, most: u64) {
    agrees(&Queue, 20_000, |prng, state| match (prng.below(2), state.first()) {
        (0, _) => {
            let enqueue = QueueOp::Enqueue(prng.between(least, most) as u32);
            (enqueue, enqueue)
        }
        (_, None) => (QueueOp::Empty, QueueOp::DequeueAny),
        (_, Some(front)) => (QueueOp::Dequeue(*front), QueueOp::DequeueAny),
    });
}

#[test]
fn queues_agree_with_the_exhaustive_search() {
    queues_agree(1, 4);
}

#[test]
fn queues_of_unique_values_agree_with_the_exhaustive_search() {
    queues_agree(1, 1_000_000);
}

/// A conflict of a few operations is told as of a log in which others append as well, any other as of a log.
fn log_is_proof(operations: &[Timed<LogOp>], evidence: &Evidence) {
    let end = operations[evidence.failed].returned.expect("what failed was answered");
    let cut = |index: &usize| {
        let timed = operations[*index].clone();
        Timed { returned: timed.returned.filter(|at| *at <= end), ..timed }
    };
    let few: Vec<_> = evidence.operations.iter().map(cut).collect();
    let shared = SharedLog::of(operations);
    if is_linearizable(&shared, &few) {
        is_proof(&Log, operations, evidence);
    } else {
        is_proof(&shared, operations, evidence);
    }
}

fn logs_agree(least: u64, most: u64) {
    let draw = |prng: &mut Prng, state: &Vec<u32>| {
        let end = state.len() as u64;
        if prng.below(2) == 0 {
            let value = prng.between(least, most) as u32;
            return (LogOp::Append(end, value), LogOp::AppendAny(value));
        }
        let offset = prng.below(3);
        let op =
            state.get(offset as usize).map_or(LogOp::Beyond(offset), |value| LogOp::Read(offset, *value));
        (op, op)
    };
    agrees_and(&Log, 20_000, draw, log_is_proof);
}

#[test]
fn logs_agree_with_the_exhaustive_search() {
    logs_agree(1, 3);
}

#[test]
fn logs_of_unique_values_agree_with_the_exhaustive_search() {
    logs_agree(1, 1_000_000);
}

fn texts_agree(put: impl Fn(&mut Prng) -> String, append: impl Fn(&mut Prng) -> String) {
    agrees(&Text, 20_000, |prng, state| {
        let op = match prng.below(6) {
            0..=2 => TextOp::Get(state.clone()),
            3 => TextOp::Put(put(prng)),
            _ => TextOp::Append(append(prng)),
        };
        (op.clone(), op)
    });
}

#[test]
fn texts_agree_with_the_exhaustive_search() {
    let word = |prng: &mut Prng| ["a", "b", "ab", ""][prng.below(4) as usize].to_owned();
    texts_agree(word, word);
}

#[test]
fn texts_of_unique_words_agree_with_the_exhaustive_search() {
    let word = |prng: &mut Prng, end: &str| format!("{}{end}", prng.below(1_000_000));
    texts_agree(|prng| word(prng, ";"), |prng| word(prng, ","));
}

/// A long history of one register that really took place: `clients` ask one thing after the other, some answers are
/// lost, and every value is written once or a few times.
fn long_register_history(
    operations: usize,
    clients: u64,
    lost_in: u64,
    values: Option<u64>,
) -> Vec<Timed<RegisterOp>> {
    let mut prng = Prng::from_key([5; 32]);
    let mut free_at: Vec<u64> = (0..clients).collect();
    let mut spans = Vec::new();
    for index in 0..operations {
        let client = prng.below(clients) as usize;
        let begin = free_at[client] + prng.between(1, 50) * clients;
        let end = begin + prng.between(1, 100) * clients;
        free_at[client] = end;
        spans.push((prng.between(begin, end), begin, end, index as u64 + 1));
    }
    spans.sort_unstable();
    let mut state = 0;
    let mut history = Vec::new();
    for (_, begin, end, number) in spans {
        let value = values.map_or(number, |values| number % values + 1) as u32;
        let lost = prng.below(lost_in) == 0;
        let op = match prng.below(3) {
            0 => RegisterOp::Read(state),
            1 => RegisterOp::Write(value),
            _ if prng.below(2) == 0 => RegisterOp::swap(state, value),
            _ if value != state => RegisterOp::mismatch(value, state),
            _ => RegisterOp::Read(state),
        };
        if !lost || prng.below(2) == 0 {
            state = Register.step(&state, &op).unwrap_or(state);
        }
        history.push(Timed { op, invoked: begin, returned: (!lost).then_some(end) });
    }
    history
}

#[test]
fn a_long_history_with_lost_answers_is_judged_within_its_limits() {
    let limits = Limits { configurations_max: 100_000, steps_max: 20_000_000 };
    let history = long_register_history(20_000, 20, 100, None);
    assert_eq!(judge(&Register, &history, limits), Judged::Linearizable);
    let history = long_register_history(5_000, 10, 100, Some(5));
    assert_eq!(judge(&Register, &history, limits), Judged::Linearizable);
}

#[test]
fn a_long_history_of_a_bank_with_lost_answers_is_judged_within_its_limits() {
    for (clients, values) in [(5, Some(5)), (20, Some(100)), (20, None)] {
        let recipe = Recipe {
            model: "bank",
            operations: 2_000,
            clients,
            keys: 1,
            lost_ppm: 10_000,
            values,
            wrong: false,
        };
        let history = generate::history(&recipe, 1).expect("a recipe that can be");
        let verdict = check("bank", &history, Limits::default()).expect("operations of a bank");
        assert!(matches!(verdict, Verdict::Linearizable { .. }), "{verdict:?}");
    }
}

#[test]
fn one_stale_read_in_a_long_history_is_found_and_told_in_a_few_operations() {
    let mut history = long_register_history(3_000, 10, 100, None);
    let stale = history.iter().position(|timed| {
        timed.invoked > 200_000 && timed.returned.is_some() && matches!(timed.op, RegisterOp::Read(_))
    });
    let stale = stale.expect("there are reads late in the history");
    let old = history.iter().find_map(|timed| match timed.op {
        RegisterOp::Write(value) if timed.returned.is_some_and(|at| at < 100_000) => Some(value),
        _ => None,
    });
    history[stale].op = RegisterOp::Read(old.expect("there are writes early in the history"));
    let Judged::Violation(evidence) = judge(&Register, &history, Limits::default()) else {
        panic!("it is stale")
    };
    assert_eq!(evidence.failed, stale);
    assert!(evidence.operations.len() <= 6, "{} operations", evidence.operations.len());
}

#[test]
fn limits_give_up_and_never_pass() {
    // Sixteen transfers at once, of amounts that make up every sum in one way only, then a look that none of them gives.
    let mut history: Vec<Timed<BankOp>> = (0..16)
        .map(|index| Timed { op: BankOp::Transfer(0, 1, 2 << index), invoked: 2 + index, returned: None })
        .collect();
    let read = |balance: u64, other: u64| BankOp::Read(vec![(0, balance), (1, other)]);
    history.push(Timed { op: read(1_000_000, 0), invoked: 0, returned: Some(1) });
    history.push(Timed { op: read(999_999, 1), invoked: 200, returned: Some(201) });
    let bank = Bank::founded(2);
    let few_steps = Limits { steps_max: 10_000, ..Limits::default() };
    assert_eq!(judge(&bank, &history, few_steps), Judged::GaveUp(Limit::Steps));
    let few_configurations = Limits { configurations_max: 100, ..Limits::default() };
    assert_eq!(judge(&bank, &history, few_configurations), Judged::GaveUp(Limit::Configurations));
}

fn verdict(model: &str, lines: &str) -> Verdict {
    let history = History::read(lines).expect("a history");
    check(model, &history, Limits::default()).expect("a model and its operations")
}

#[test]
fn a_mismatch_binds_and_another_failure_does_not() {
    let lines = |error: &str| {
        format!(
            r#"{{"process":1,"type":"invoke","f":"write","key":"r","value":1}}
{{"process":1,"type":"ok","f":"write","key":"r","value":1}}
{{"process":1,"type":"invoke","f":"cas","key":"r","value":[1,2]}}
{{"process":1,"type":"fail","f":"cas","key":"r","value":[1,2],"error":"{error}"}}
"#
        )
    };
    assert!(matches!(verdict("cas-register", &lines("mismatch")), Verdict::Violation(_)));
    assert!(matches!(
        verdict("cas-register", &lines("timeout")),
        Verdict::Linearizable { operations: 1, .. }
    ));
}

#[test]
fn keys_are_independent_and_a_violation_names_its_key() {
    let lines = r#"{"process":1,"type":"invoke","f":"write","key":"a","value":7}
{"process":1,"type":"ok","f":"write","key":"a","value":7}
{"process":2,"type":"invoke","f":"read","key":"b"}
{"process":2,"type":"ok","f":"read","key":"b","value":null}
{"process":2,"type":"invoke","f":"read","key":"a"}
{"process":2,"type":"ok","f":"read","key":"a","value":null}
"#;
    let Verdict::Violation(violation) = verdict("cas-register", lines) else {
        panic!("the read of `a` is stale")
    };
    assert_eq!((violation.key.to_string().as_str(), violation.evidence.failed), ("\"a\"", 2));
    assert_eq!(violation.evidence.operations, [0, 2]);
}

#[test]
fn every_model_is_known_by_its_name_and_tells_what_it_does_not_know() {
    let lines = r#"{"process":1,"type":"invoke","f":"dance","key":"r","value":1}"#;
    let history = History::read(lines).expect("a history");
    for model in super::MODELS {
        let error = check(model, &history, Limits::default()).expect_err("nobody dances");
        assert!(error.to_string().starts_with("line 1, column 34: `dance` of process 1: "), "{error}");
    }
    let error = check("tree", &history, Limits::default()).expect_err("no such model");
    assert_eq!(
        error.to_string(),
        "unknown model `tree`; known are cas-register, bank, kv-append, mutex, queue, log"
    );
}

#[test]
fn histories_of_every_model_are_read() {
    let one = |f: &str, value: &str, answer: &str| {
        format!(
            "{{\"process\":1,\"type\":\"invoke\",\"f\":\"{f}\",\"value\":{value}}}\n{{\"process\":1,\"type\":\"ok\",\"f\":\"{f}\",\"value\":{answer}}}\n"
        )
    };
    let text = one("put", "\"x\"", "null") + &one("append", "\"y\"", "null");
    let cases = [
        ("kv-append", text.clone() + &one("get", "null", "\"xy\""), text + &one("get", "null", "\"yx\"")),
        ("mutex", one("acquire", "null", "null"), one("release", "null", "null")),
        ("queue", one("enqueue", "4", "4") + &one("dequeue", "null", "4"), one("dequeue", "null", "4")),
        ("log", one("append", "4", "[0,4]") + &one("read", "1", "[1,null]"), one("append", "4", "[1,4]")),
        (
            "bank",
            one("read", "null", r#"{"1":5,"2":0}"#) + &one("transfer", "[1,2,3]", "null"),
            one("read", "null", r#"{"1":5,"2":0}"#) + &one("transfer", "[2,1,3]", "null"),
        ),
    ];
    for (model, right, wrong) in cases {
        assert!(matches!(verdict(model, &right), Verdict::Linearizable { .. }), "{model}: {right}");
        assert!(matches!(verdict(model, &wrong), Verdict::Violation(_)), "{model}: {wrong}");
    }
}

#[test]
fn an_order_proves_only_what_it_explains() {
    let op = |op, invoked, returned| Timed { op, invoked, returned };
    let history = [
        op(RegisterOp::Write(1), 1, Some(5)),
        op(RegisterOp::Write(2), 2, None),
        op(RegisterOp::Read(2), 6, Some(7)),
        op(RegisterOp::Swap(7, 8), 6, None),
    ];
    assert!(proves(&Register, &history, &[0, 1, 2]));
    assert!(proves(&Register, &history, &[0, 3, 1, 2]), "what was never answered may have been refused");
    assert!(!proves(&Register, &history, &[0, 2]), "the read saw what was never answered");
    assert!(!proves(&Register, &history, &[1, 2]), "the first write was answered");
    assert!(!proves(&Register, &history, &[0, 1, 1, 2]), "an operation takes effect once");
    assert!(!proves(&Register, &history, &[1, 2, 0]), "the first write was over when the read began");
}
