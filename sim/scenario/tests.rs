use super::{Scenario, text_of};
use crate::config::WorldConfig;
use crate::net::{Endpoint, MessageKind};
use crate::plan::FaultKind;
use crate::run::Simulation;
use crate::time::SECOND;
use crate::workload::BuiltinWorkload;
use chronon_core::builtin::{Builtin, KINDS};
use chronon_core::types::NodeId;

const HEAD: &str = "name = \"a test\"\nlength = \"20s\"\n\n[cluster]\nnodes = 3\n";

fn parse(rest: &str) -> Scenario {
    Scenario::parse(&format!("{HEAD}{rest}"), &KINDS)
        .unwrap_or_else(|error| panic!("{}", error.show("a.toml", HEAD)))
}

fn refuse(text: &str) -> String {
    match Scenario::parse(text, &KINDS) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.show("a.toml", text),
    }
}

#[test]
fn a_scenario_becomes_the_run_it_describes() {
    let scenario = parse(
        "atomic_unit = 512\n[[group]]\nkind = \"bank\"\nvoters = [1, 3]\n[clients]\ncount = 2\nthink = \"5ms\"\n\
         [[fault]]\ncrash = { at = \"10s\", node = 2, down = \"1s\" }\n\
         [[fault]]\nclock_jump = { at = \"2s\", node = 1, by = \"-3s\" }\n",
    );
    let config = &scenario.config;
    assert_eq!((config.nodes.len(), config.client_ids(), config.disk.atomic_unit), (3, vec![1, 2], 512));
    assert_eq!(config.groups[0].voters, [NodeId::new(1), NodeId::new(3)]);
    assert_eq!(config.faults_ns, 20 * SECOND);
    // In the order of time, not of the file.
    assert_eq!(
        config.plan[0].what,
        FaultKind::ClockJump { node: NodeId::new(1), by_ns: -(3 * SECOND as i64) }
    );
    assert_eq!(config.plan[1].what, FaultKind::Crash { node: NodeId::new(2), down_ns: SECOND });
}

#[test]
fn links_go_both_ways_unless_said_otherwise() {
    let links = |fault: &str| match &parse(&format!("[[fault]]\n{fault}\n")).config.plan[0].what {
        FaultKind::Cut { links, .. } => links.clone(),
        other => panic!("{other}"),
    };
    let node = |n| Endpoint::Node(NodeId::new(n));
    let both = links("cut = { at = \"1s\", for = \"1s\", from = [1], to = [3] }");
    assert_eq!(both, [(node(1), node(3)), (node(3), node(1))]);
    let one_way = links("cut = { at = \"1s\", for = \"1s\", from = [1, \"c2\"], to = [3], one_way = true }");
    assert_eq!(one_way, [(node(1), node(3)), (Endpoint::Client(2), node(3))]);
    // Two other nodes and three clients, both ways.
    assert_eq!(links("cut = { at = \"1s\", for = \"1s\", from = [2] }").len(), 10);
    // One by one, in whatever order.
    assert_eq!(links("cut = { at = \"1s\", for = \"1s\", links = [\"c2>3\", \"1>3\"] }"), one_way);
}

#[test]
fn messages_of_a_kind_can_be_dropped() {
    let scenario = parse(
        "[[fault]]\ndrop = { at = \"0s\", for = \"9s\", kind = \"start-view-change\", attempts = 1 }\n",
    );
    let FaultKind::Drop { rule, .. } = &scenario.config.plan[0].what else { panic!("a drop") };
    assert_eq!((rule.kind, rule.attempts, rule.from), (Some(MessageKind::StartViewChange), 1, None));
}

#[test]
fn small_bounds_can_be_asked_for() {
    let config = parse(
        "repair_entries = 2\nrepair_bytes = 4096\nsealed_segments = 1\nbatch_bytes = 2048\nqueue_requests = 4\n\
         idle_mark = \"5ms\"\ncommand_bytes = 512\nid = \"0x1f\"\n",
    )
    .config;
    let limits = config.limits;
    assert_eq!((limits.repair_entries_max, limits.repair_bytes_max, limits.batch_bytes_max), (2, 4096, 2048));
    assert_eq!((limits.queue_requests_max, limits.command_bytes_max), (4, 512));
    assert_eq!(config.engine.sealed_segments_target, 1);
    assert_eq!(config.engine.idle_mark_after.as_nanos(), 5_000_000);
    assert_eq!(config.groups[0].cluster.get(), 0x1f);
}

#[test]
fn a_seed_that_is_saved_is_read_back_as_it_was_drawn() {
    for seed in 0..200 {
        let drawn = WorldConfig::of_seed(seed, &["bank", "register"]);
        let text = text_of("a \"saved\" seed", &drawn);
        let read =
            Scenario::parse(&text, &KINDS).unwrap_or_else(|error| panic!("{}", error.show("a.toml", &text)));
        assert_eq!(read.config, drawn, "seed {seed} as\n{text}");
        assert_eq!(read.name, "a \"saved\" seed");
    }
}

#[test]
fn a_scenario_that_is_saved_again_is_the_same_run() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    for file in super::files_of(&dir).unwrap_or_else(|error| panic!("{error}")) {
        let first = Scenario::load(&file, &KINDS).unwrap_or_else(|error| panic!("{error}"));
        let text = text_of(&first.name, &first.config);
        let again =
            Scenario::parse(&text, &KINDS).unwrap_or_else(|error| panic!("{}", error.show("a.toml", &text)));
        assert_eq!(again.config, first.config, "{text}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_a_hint() {
    let error = refuse("name = \"a\"\nlength = \"1s\"\n[cluster]\nnods = 3\n");
    assert!(error.starts_with("a.toml:4:1: unknown field `nods`"), "{error}");
    assert!(error.contains("did you mean `nodes`?") && error.contains("\n  nods = 3\n"), "{error}");
}

#[test]
fn a_mark_that_no_node_came_by_fails_a_run_and_one_that_there_is_not_is_refused() {
    let expecting = |mark: &str| format!("[[group]]\nkind = \"register\"\n[expect]\nmarks = [\"{mark}\"]\n");
    let run = |mark| {
        let scenario = parse(&expecting(mark));
        let report = Simulation::new(Builtin, BuiltinWorkload::default()).run(scenario.config.clone(), None);
        scenario.judge(report).cause.map(|cause| cause.to_string())
    };
    assert_eq!(run("engine: idle journal notes its last barrier"), None);
    let missed = run("engine: no space is left").expect("the disk was never full");
    assert!(missed.contains("no node came by `engine: no space is left`"), "{missed}");
    let error = refuse(&format!("{HEAD}{}", expecting("engine: nonsense")));
    assert!(error.starts_with("a.toml:9:10: there is no mark `engine: nonsense`"), "{error}");
}

#[test]
fn what_must_become_of_events_fails_a_run_in_which_it_did_not() {
    let expecting = |fates: &str| {
        let text = "[[group]]\nkind = \"events\"\n[events]\npublish = 1.0\nagain = 0.5\n";
        format!("{text}[expect]\nfates_min = {{ {fates} }}\n")
    };
    let run = |fates| {
        let scenario = parse(&expecting(fates));
        let report = Simulation::new(Builtin, BuiltinWorkload::default()).run(scenario.config.clone(), None);
        scenario.judge(report).cause.map(|cause| cause.to_string())
    };
    assert_eq!(run("accepted = 10, duplicate = 3"), None);
    let missed = run("acknowledged = 1").expect("nobody consumes");
    assert!(missed.contains("0 times `acknowledged`"), "{missed}");
    let error = refuse(&format!("{HEAD}{}", expecting("forgotten = 1")));
    assert!(error.contains("unknown variant `forgotten`") && error.contains("`duplicate`"), "{error}");
}

#[test]
fn a_mark_that_a_scenario_rules_out_fails_a_run() {
    let ruling_out = |mark: &str| {
        let scenario = parse(&format!("[[group]]\nkind = \"register\"\n[expect]\nnever = [\"{mark}\"]\n"));
        let report = Simulation::new(Builtin, BuiltinWorkload::default()).run(scenario.config.clone(), None);
        scenario.judge(report).cause.map(|cause| cause.to_string())
    };
    assert_eq!(ruling_out("engine: no space is left"), None);
    let reached = ruling_out("engine: idle journal notes its last barrier").expect("every run comes by it");
    assert!(reached.contains("a node came by `engine: idle journal notes its last barrier`"), "{reached}");
    let error = refuse(&format!("{HEAD}[expect]\nnever = [\"engine: nonsense\"]\n"));
    assert!(error.contains("there is no mark `engine: nonsense`"), "{error}");
}

#[test]
fn the_longest_entry_is_measured_in_commands() {
    let of_clients = |count: u32| {
        let scenario = parse(&format!(
            "disk_barrier = \"50ms\"\n[[group]]\nkind = \"register\"\n[clients]\ncount = {count}\n\
             [expect]\nentry_commands_min = 2\n"
        ));
        let report = Simulation::new(Builtin, BuiltinWorkload::default()).run(scenario.config.clone(), None);
        let held = report.tally.entry_commands_max;
        (held, scenario.judge(report).cause.map(|cause| cause.to_string()))
    };
    let (one, alone) = of_clients(1);
    let alone = alone.expect("a client has one request at a time");
    assert!(one == 1 && alone.contains("1 commands in the longest entry"), "{alone}");
    let (several, together) = of_clients(12);
    assert!((2..=12).contains(&several) && together.is_none(), "{several}, {together:?}");
}

#[test]
fn impossible_faults_are_refused_with_their_place() {
    let cases = [
        ("crash = { at = \"1s\", node = 4, down = \"1s\" }", "there is no node 4; there are 1, 2, 3"),
        ("crash = { at = \"20s\", node = 1, down = \"1s\" }", "the scenario's length is 20"),
        ("crash = { at = \"1s\", node = 1, down = \"1 week\" }", "`1 week` is not a span"),
        ("crash = { at = \"1s\", node = 1 }", "missing field `down`"),
        ("crsh = { at = \"1s\", node = 1, down = \"1s\" }", "did you mean `crash`?"),
        ("cut = { at = \"1s\", for = \"1s\", from = [1], to = [1] }", "stands on both sides"),
        ("cut = { at = \"1s\", for = \"1s\", from = [\"c9\"] }", "no client 9"),
        ("cut = { at = \"1s\", for = \"1s\", from = [\"x\"] }", "a node's number"),
        ("lossy = { at = \"1s\", for = \"1s\", from = [1], share = 1.5 }", "0.0 to 1.0"),
        ("drop = { at = \"1s\", for = \"1s\", kind = \"prepares\" }", "did you mean `prepare`?"),
        ("crash_at_disk_op = { at = \"1s\", node = 1, nth = 0, down = \"1s\" }", "disk operation 0"),
        ("disk_stall = { at = \"1s\", node = 1, for = \"1s\", every = \"0s\" }", "more than 20000 times"),
        ("pause = { at = \"1s\", node = 1, for = \"1s\", every = \"1us\" }", "more than 20000 times"),
        ("clock_jump = { at = \"1s\", node = 1, by = \"--1s\" }", "is not a span"),
        ("clog = { at = \"1s\", for = \"1s\", links = [\"1-2\"] }", "`1-2` is not a link"),
        ("clog = { at = \"1s\", for = \"1s\", links = [\"1>4\"] }", "there is no node 4"),
        ("clog = { at = \"1s\", for = \"1s\", links = [\"1>2\"], from = [1] }", "either `from`"),
        ("clog = { at = \"1s\", for = \"1s\" }", "or `links` alone"),
    ];
    for (fault, expected) in cases {
        let error = refuse(&format!("{HEAD}[[fault]]\n{fault}\n"));
        assert!(error.contains(expected), "{fault}\ngives {error}");
        assert!(error.starts_with("a.toml:7:"), "{fault}\ngives {error}");
    }
}

#[test]
fn a_fault_happens_again_and_again_until_the_end() {
    let stall = "[[fault]]\ndisk_stall = { at = \"1s\", node = 2, for = \"100ms\", every = \"2s\" }\n";
    let crash = "[[fault]]\ncrash = { at = \"4s\", node = 1, down = \"100ms\" }\n";
    let scenario = parse(&format!("[[group]]\nkind = \"bank\"\n{stall}{crash}"));
    let moments: Vec<u64> = scenario.config.plan.iter().map(|fault| fault.at.as_nanos() / SECOND).collect();
    let whole = scenario.config.faults_ns / SECOND;
    let mut expected: Vec<u64> = (1..whole).step_by(2).chain([4]).collect();
    expected.sort_unstable();
    assert_eq!(moments, expected);
}

#[test]
fn broken_syntax_and_clusters_that_cannot_be_are_refused() {
    let cases = [
        ("name = ", "a.toml:1:8"),
        ("name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 8\n", "nodes 8: 1 to 7 are allowed"),
        ("name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 3\natomic_unit = 100\n", "512 or 4096"),
        (
            "name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 3\n[[group]]\nkind = \"bnk\"\n",
            "unknown kind `bnk`",
        ),
        (
            "name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 3\n[[group]]\nkind = \"bank\"\nvoters = [2, 1]\n",
            "ascending",
        ),
        (
            "name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 3\nrepair_entries = 0\n",
            "a.toml:5:18: 0: 1 to 4294967295 are allowed",
        ),
        (
            "name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 3\nbatch_bytes = 999999\n",
            "flush_bytes_max is 131072",
        ),
        ("name = \"a\"\nlength = \"1s\"\n[cluster]\nnodes = 3\nsegment_bytes = 8192\n", "8192"),
        ("name = \"a\"\nseed = \"0xzz\"\nlength = \"1s\"\n[cluster]\nnodes = 3\n", "`0xzz` is not a seed"),
    ];
    for (text, expected) in cases {
        let error = refuse(text);
        assert!(error.contains(expected), "{text}\ngives {error}");
    }
}

#[test]
fn every_scenario_of_the_repository_can_be_read() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = super::files_of(&dir).unwrap_or_else(|error| panic!("{error}"));
    for file in &files {
        let scenario = Scenario::load(file, &KINDS).unwrap_or_else(|error| panic!("{error}"));
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let number = stem.split('-').next().unwrap_or_default();
        assert!(scenario.name.starts_with(number), "{stem} is called {:?}", scenario.name);
    }
    assert!(files.len() >= 12, "{} scenarios", files.len());
}

#[test]
fn every_failure_once_found_says_what_broke_and_why() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    for file in super::files_of(&dir).unwrap_or_else(|error| panic!("{error}")) {
        Scenario::load(&file, &KINDS).unwrap_or_else(|error| panic!("{error}"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
        let comment: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        for part in ["# Broke: ", "# Cause: ", "# Fix: "] {
            let said = comment.iter().any(|line| line.starts_with(part));
            assert!(said, "{}: no line begins with {part:?}", file.display());
        }
    }
}
