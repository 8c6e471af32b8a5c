"""Every finding that the compiler can make: the one table of codes, and :func:`finding`, which makes one.

The codes of the kernel rules stand beside the rules (:mod:`compiler.rules.kernels.registry`); :func:`code_of`
and :func:`all_codes` know them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from compiler.diagnostics.model import Diagnostic, Place, Severity

_SWITCHABLE = ("DEP3", "DEP45", "DEP502", "DEP503", "DEP7", "DEP9")
"""Errors with which a plan is possible, if hopeless."""

E, W, I = Severity.ERROR, Severity.WARNING, Severity.INFO  # noqa: E741 - one letter keeps the table readable


@dataclass(frozen=True, slots=True)
class Code:
    """A finding's story. ``title`` says what is wrong, ``why`` why it matters, ``fix`` how to get out."""

    code: str
    slug: str
    severity: Severity
    title: str
    why: str
    fix: str
    source: str = ""
    """Where the demand comes from, if not from this project's own format."""

    @property
    def switchable(self) -> bool:
        """Whether ``--ignore``, a comment or a project file may switch an error of this code off.

        What the plan cannot do without stays: syntax, schema, names, hosts.
        """
        return self.severity is not Severity.ERROR or self.code.startswith(_SWITCHABLE)


CODES = (
    # 1xx: one file by itself, syntax and schema
    Code("DEP101", "unreadable-file", E, "a file cannot be read",
         "Nothing can be checked in it.", "Check path and permissions."),
    Code("DEP102", "not-utf8", E, "a file is not UTF-8",
         "TOML files are UTF-8 by definition.", "Save the file as UTF-8.",
         "TOML 1.0.0"),
    Code("DEP103", "syntax-error", E, "a file is not TOML",
         "Nothing else in the file can be checked until it can be read.", "Correct the marked place.",
         "TOML 1.0.0"),
    Code("DEP104", "file-limits", E, "a file is too large or nested too deeply",
         "A test or scenario needs a few kilobytes; such a file is a mistake or an attack.",
         "Split the file."),
    Code("DEP105", "unknown-key", E, "a key that the format does not have",
         "CloudAI takes unknown cmd_args and ignores them, so that a slip of the pen runs with a default.",
         "Write the key as the schema has it, or remove it.",
         "NVIDIA/cloudai src/cloudai/models/workload.py:32 @ 5b5c0f7"),
    Code("DEP106", "missing-key", E, "a required key is missing",
         "There is no sensible default for it.", "Add the key."),
    Code("DEP107", "wrong-type", E, "a value has the wrong type",
         'Values are not converted: "1024" is text, 1024 is a number.',
         "Write the value with the right type."),
    Code("DEP108", "bad-value", E, "a value is not one of those allowed",
         "The program knows only these values.", "Write one of the allowed values."),
    Code("DEP109", "out-of-range", E, "a number or a length is out of range",
         "Outside of the range the benchmark cannot run.", "Write a value within the range."),
    Code("DEP110", "duplicate-value", E, "a list holds a value twice",
         "The same run would be made twice under two names.", "Remove one."),
    Code("DEP111", "nul-character", E, "a text holds a NUL character",
         "No argument, file name or environment variable can hold it.", "Remove the character."),
    Code("DEP112", "unknown-file-kind", E, "a TOML file is neither test nor scenario nor system",
         "A test has test_template_name, a scenario [[Tests]], a system scheduler.",
         "Add the missing key, or keep the file out of the folder."),
    Code("DEP113", "schema-violation", E, "a value does not fit the schema",
         "The schema says what the format allows.", "See the schema."),
    Code("DEP114", "file-skipped", I, "a file that is not a test is skipped",
         "Only test TOMLs of this workload are used from the tests folder.", "Nothing to do."),
    Code("DEP115", "cannot-ignore", W, "an error that cannot be switched off",
         "Without it there is no plan: the file cannot be read, or hosts, names or images are not known.",
         "Correct the error, and remove the code from --ignore, noqa or the project file."),
    Code("DEP116", "unused-noqa", I, "a noqa comment that silences nothing",
         "What it was for is gone; it would hide the next finding on this line.", "Remove the comment."),
    Code("DEP117", "unknown-code", W, "a code or slug that does not exist",
         "It switches nothing.", "Write a code (DEP301), the beginning of one (DEP3) or a slug."),
    # 2xx: the model, across keys and files
    Code("DEP201", "unknown-test-name", E, "test_name names a test that does not exist",
         "The tests folder holds no file with that name.", "Write the name of an existing test."),
    Code("DEP202", "duplicate-test-name", E, "two test files have the same name",
         "It would be left to chance which of them runs.", "Rename one of them."),
    Code("DEP203", "duplicate-id", E, "two entries have the same id",
         "The id names the entry's result directory; some file systems do not tell upper from lower case.",
         "Give each entry an id of its own."),
    Code("DEP204", "unsafe-name", E, "a name cannot serve as a directory name",
         "Ids and scenario names become directories of the result tree and must not lead out of it.",
         "Use letters, digits, '.', '_' and '-', beginning with a letter or a digit, at most 128."),
    Code("DEP205", "unknown-dependency", E, "a dependency names an entry that does not exist",
         "The entry would wait for ever.", "Write the id of an entry of the same scenario."),
    Code("DEP206", "self-dependency", E, "an entry depends on itself",
         "It would wait for ever.", "Remove the dependency."),
    Code("DEP207", "dependency-cycle", E, "entries wait for each other in a circle",
         "None of them could ever start or end.", "Remove one dependency of the circle.",
         "NVIDIA/cloudai src/cloudai/models/scenario.py:195 @ 5b5c0f7 finds self-dependencies only"),
    Code("DEP208", "duplicate-dependency", W, "a dependency is given twice",
         "The second one changes nothing.", "Remove it."),
    Code("DEP209", "test-source", E, "an entry does not say which test it runs",
         "An entry names a test (test_name) or defines one (test_template_name, name, description).",
         "Give test_name, or the three keys of a definition."),
    Code("DEP210", "template-changed", E, "an entry changes the workload of its test",
         "Overrides change a test's values, not what kind of test it is.", "Remove test_template_name."),
    Code("DEP211", "unknown-template", E, "a test of a workload that this compiler does not know",
         "Only the listed workloads can be run.", "Use one of the known templates."),
    Code("DEP212", "unused-test", I, "no scenario uses a test file",
         "It may be a leftover, or a scenario may name another test by mistake.", "Use it or remove it."),
    Code("DEP213", "no-effect", W, "a key is accepted but has no effect",
         "CloudAI's format has it; here it changes nothing (yet).", "Remove it, or do not rely on it."),
    Code("DEP214", "sweep-large", W, "a sweep has very many points",
         "Every point is a run of its own, one after another.", "Sweep fewer values."),
    Code("DEP215", "sweep-too-large", E, "a sweep has more points than anybody can run",
         "Every point is a run of its own, one after another.", "Sweep fewer values or split the entry."),
    Code("DEP216", "list-not-allowed", E, "a list is kept as a value where one value is needed",
         "dse_excluded_args keeps a list from being swept, but the argument takes a single value.",
         "Remove it from dse_excluded_args to sweep it, or write one value."),
    Code("DEP217", "excluded-unknown", E, "dse_excluded_args names an argument that does not exist",
         "The exclusion would do nothing.", "Write cmd_args.<argument>."),
    Code("DEP218", "bad-time-limit", E, "a time limit cannot be understood",
         "It decides when a hanging run is stopped.", "Write HH:MM:SS.",
         "sbatch(1) --time"),
    Code("DEP219", "ambiguous-time-limit", E, "a time limit has two readings",
         "Slurm reads NN:NN as minutes and seconds, CloudAI as hours and minutes.", "Write HH:MM:SS.",
         "sbatch(1) --time; NVIDIA/cloudai src/cloudai/util/utils.py:21 @ 5b5c0f7"),
    Code("DEP220", "missing-time-limit", W, "an entry has no time limit",
         "A hang costs the allocation until the default limit.", "Add time_limit."),
    Code("DEP221", "reserved-id", E, "an id is the name of a file of the result tree",
         "The entry's directory would take the place of that file.", "Choose another id."),
    Code("DEP222", "scenario-too-large", E, "a scenario has more runs than anybody can run",
         "Runs are made one after another.", "Split the scenario."),
    Code("DEP223", "system-unclear", I, "more than one system TOML lies beside a scenario",
         "Only a single one can stand in for an inventory.", "Give --inventory, or keep one system TOML."),
    Code("DEP224", "overlap-impossible", E, "overlapping entries cannot be put into an order",
         "start_post_init and end_post_comp make entries overlap; that needs a clear begin and end.",
         "Remove a dependency, or let each of the overlapping entries have one run."),
    Code("DEP225", "unusable-references", E, "a file of reference values cannot be used",
         "[reports.reference] names it: the tests could not be held to its values.",
         "Correct the path, or the file."),
    Code("DEP227", "unknown-hook", E, "pre_test or post_test names no hook scenario",
         "Nothing would run before or after the entries.",
         "Write the name of a scenario in the folder hook/, or give that folder with --hook-dir.",
         "NVIDIA/cloudai src/cloudai/test_scenario_parser.py:136 @ 5b5c0f7"),
    Code("DEP228", "hook-not-possible", E, "a hook asks for what a hook cannot have",
         "Its tests run once before or after each run, one after another, on that run's own hosts.",
         "Remove the key."),
    # 3xx: arguments that belong together; the kernels' limits stand in compiler/rules/kernels/registry.py
    Code("DEP302", "topk-exceeds-experts", E, "num_topk is larger than num_experts",
         "A token cannot choose more experts than there are.", "Lower num_topk or raise num_experts.",
         "torch.topk"),
    Code("DEP303", "argument-no-effect", W, "an argument has no effect in this combination",
         "The other arguments switch off what it controls.", "Remove it, or change what switches it off."),
    Code("DEP304", "ue8m0-needs-round-scale", E, "use_ue8m0 without round_scale",
         "UE8M0 scales are powers of two, which round_scale makes (DeepEP csrc/legacy/buffer.hpp:1535).",
         "Set round_scale = true.",
         "DeepEP 1.2.1 csrc/deep_ep.cpp:1158; DeepEP 2.1.0 csrc/legacy/buffer.hpp:1535"),
    Code("DEP306", "routing-impossible", E, "the routing's arguments do not fit together",
         "Tokens could not be routed this way.",
         "Name the trace, or change the groups, imbalance or num_topk."),
    # 4xx: launch and environment
    Code("DEP401", "bad-env-name", E, "a name cannot be an environment variable",
         "No shell could export it.", "Use letters, digits and '_', not beginning with a digit.",
         "POSIX 1003.1, 8.1"),
    Code("DEP402", "shell-in-env", W, "an environment value looks like shell code",
         "Values are taken literally and never run; only $NAME and ${NAME} are replaced, on the host.",
         "Write the value itself, or compute it in the inventory."),
    Code("DEP403", "env-overridden", W, "the launcher sets this environment variable itself",
         "Rank, world size and rendezvous come from the launcher; the value would be replaced.",
         "Remove the variable.",
         "torch.distributed.run"),
    Code("DEP404", "env-too-long", E, "an environment value is too long for Linux",
         "One NAME=value string may have at most 128 KiB.", "Shorten it, or pass a file.",
         "execve(2): MAX_ARG_STRLEN"),
    Code("DEP405", "bad-mount", E, "a container mount is not SOURCE:TARGET",
         "The runtime mounts SOURCE of the host at TARGET in the container.",
         "Write /on/host:/in/container."),
    Code("DEP410", "not-implemented-yet", E, "a setting that this version can plan but not run",
         "The plan is complete for it; the roles that carry it out come with a later version.",
         "Use one of the settings that run today."),
    Code("DEP411", "unknown-extra-cmd-arg", E,
         "extra_cmd_args holds an option that the program does not have",
         "The bundled program would refuse it on every host.",
         "Write one of its options, or remove the key."),
    Code("DEP412", "mounts-without-container", W, "mounts have no effect without a container",
         "With deepep_container_runtime none the program sees the host's own files.",
         "Remove the mounts, or choose a container runtime."),
    Code("DEP413", "image-without-container", I, "the image is not used",
         "With deepep_container_runtime none the program runs on the host itself.", "Nothing to do."),
    Code("DEP414", "foreign-folder", E, "the bundle's folder holds something else",
         "Only a bundle of this compiler is replaced, so that nothing of yours is lost.",
         "Choose another folder with -o, or remove this one yourself."),
    Code("DEP415", "mount-clash", E, "two mounts have the same target",
         "Only one of them could be seen in the container.", "Give each mount a target of its own."),
    Code("DEP416", "env-blanks", W, "an environment value begins or ends with blanks",
         "Values are passed on as they are; most programs do not strip them.", "Remove the blanks."),
    # 5xx: image and credentials
    Code("DEP501", "missing-image", E, "a test has no image where one is needed",
         "A container runtime starts an image.", "Add cmd_args.docker_image_url."),
    Code("DEP502", "bad-image", E, "an image reference that no runtime can read",
         "A reference is registry/organisation/image:tag, registry#organisation/image:tag or a .sqsh file.",
         "Write it in one of these forms.", "distribution/reference: lower case, tags of 128 characters"),
    Code("DEP503", "image-not-usable", E, "an image reference that the chosen runtime cannot use",
         "docker and podman pull from registries; squashfs files and users in a reference are enroot's.",
         "Write the reference in the runtime's form, or choose another runtime.",
         "NVIDIA/enroot doc/cmd/import.md; docker pull --help"),
    Code("DEP504", "credential-not-usable", W, "a credential that no image can match",
         "Credentials are looked up by the registry's host and port.", "Write the host as in the image."),
    # 6xx: inventory and capacity
    Code("DEP601", "inventory-unreadable", E, "the inventory cannot be read",
         "Hosts and settings come from it.", "See what ansible-inventory says."),
    Code("DEP602", "inventory-empty", E, "the inventory has no hosts",
         "There is nothing to run on.", "Name an inventory with at least one host."),
    Code("DEP603", "unknown-inventory-variable", E, "a deepep_* variable that does not exist",
         "A slip of the pen would otherwise run with the default.",
         "Write the variable as the schema has it."),
    Code("DEP604", "bad-inventory-value", E, "an inventory variable has a value that is not allowed",
         "The schema of the inventory variables says what is.", "Write one of the allowed values."),
    Code("DEP605", "inventory-value-not-literal", E, "an inventory variable is a template or encrypted",
         "It shapes the plan, which is made before Ansible runs and holds no secrets.",
         "Write the value itself."),
    Code("DEP606", "unknown-host", E, "a node spec names a host that the inventory does not have",
         "Nothing could be started there.", "Write the name of an inventory host."),
    Code("DEP607", "unknown-group", E, "a node spec names a group that the inventory does not have",
         "Partitions and groups of a node spec are groups of the inventory.", "Write the name of a group."),
    Code("DEP608", "too-few-hosts", E, "there are fewer hosts than the entry asks for",
         "The run would wait for hosts that do not exist.", "Ask for fewer hosts, or add some to the group."),
    Code("DEP609", "bad-node-spec", E, "a node spec cannot be read",
         "It is a host, a range node[01-04,7], or PARTITION:GROUP:COUNT.", "Write it in one of these forms."),
    Code("DEP610", "node-count-contradiction", E, "nodes and num_nodes ask for different numbers of hosts",
         "CloudAI takes nodes and says nothing; here both must agree.",
         "Remove num_nodes, or make them agree.",
         "NVIDIA/cloudai src/cloudai/systems/slurm/slurm_system.py:769 @ 5b5c0f7"),
    Code("DEP611", "host-named-twice", E, "an entry names a host twice",
         "A host takes part in a run once.", "Write it once."),
    Code("DEP612", "variable-not-carried", W, "an Ansible variable does not travel into the bundle",
         "The bundle's inventory has what is needed to connect, and no secrets.",
         "Give your own inventory to ansible-playbook as a second -i."),
    Code("DEP613", "template-needs-variable", W, "a connection variable needs one that does not travel",
         "The bundle's inventory has what is needed to connect, and no secrets.",
         "Write the value itself, or give your own inventory to ansible-playbook as a second -i."),
    Code("DEP614", "hosts-shared", E, "entries that run at the same time share a host",
         "A host runs one benchmark at a time.", "Give them different hosts, or choose by count."),
    Code("DEP615", "settings-disagree", E, "the hosts of a run have different settings",
         "All hosts of a run are started with the same program, environment and number of ranks.",
         "Give them the same value, or choose other hosts."),
    Code("DEP616", "missing-inventory-setting", E, "a setting that the run needs is missing",
         "There is no default that would be right.", "Set the variable."),
    Code("DEP617", "unsafe-host-name", E, "a host's name cannot be a file name",
         "State and results of a host lie in a directory of its name; Ansible reads [ ] : ! & as patterns.",
         "Rename it in the inventory (letters, digits, '.', '_', '-') and give its address as ansible_host."),
    Code("DEP618", "system-setting-not-carried", W,
         "a setting of the system TOML has no place in the inventory",
         "This project has no such setting (yet).", "Nothing to do, if you do not rely on it."),
    Code("DEP619", "settings-contradict", E, "two settings of a host exclude each other",
         "The image's own program can only run in a container.", "Change one of them."),
    Code("DEP625", "host-barred", E, "a node spec names a host that --exclude leaves out",
         "A test that names its hosts is about these; it is not run on others instead.",
         "Remove the host from nodes, or do not exclude it."),
    Code("DEP626", "selftest-impossible", E, "--selftest has nothing that it could run on a host alone",
         "It takes the arguments of a test of the scenario; the kernels must allow them on one host.",
         "Leave --selftest out, or add a test that runs on one host.",
         "deepep_bench and the kernels' limits (docs/rules-kernels.md)"),
    Code("DEP630", "srun-args-unused", W, "arguments for srun have no effect without Slurm",
         "Nothing is started with srun over SSH.", "Remove them, or set deepep_launcher: slurm."),
    Code("DEP631", "bad-srun-args", E, "arguments for srun that cannot be split into words",
         "They are split as a shell would split them.", "Close every quote."),
    Code("DEP640", "slurm-not-asked", E, "the cluster could not be asked",
         "lint --online asks sinfo on the login host, through Ansible.",
         "Check deepep_slurm_login and how it is reached: ansible -m ping LOGIN."),
    Code("DEP641", "online-without-slurm", W, "there is no queue to ask over SSH",
         "lint --online is about Slurm.", "Use doctor, which examines every host."),
    Code("DEP642", "slurm-partition", E, "the partition does not exist, or is not up",
         "Slurm refuses such a job.", "Choose another deepep_slurm_partition."),
    Code("DEP643", "slurm-time-limit", E, "a job asks for more time than its partition allows",
         "Slurm refuses such a job, or never starts it.",
         "Lower time_limit or deepep_slurm_margin_s, or choose another partition."),
    Code("DEP644", "slurm-nodes", E, "the partition lacks hosts of the plan",
         "Slurm refuses such a job, or never starts it.", "Choose other hosts or another partition."),
    Code("DEP645", "slurm-gpus", E, "hosts have fewer GPUs in Slurm than the job asks for",
         "Slurm refuses such a job, or never starts it.",
         "Lower deepep_gpus_per_node, or set deepep_slurm_gpu_request: none."),
    Code("DEP646", "slurm-node-down", W, "hosts of the plan take no jobs now",
         "The job waits until they are back.", "Choose other hosts, or ask the administrators."),
    # 7xx: reproducibility
    Code("DEP701", "mutable-image-tag", W, "an image is named by a tag that can move",
         "The same scenario may run another program tomorrow, and hosts may hold different ones today.",
         "Add the digest: registry/organisation/image:tag@sha256:..."),
)  # fmt: skip


@cache
def all_codes() -> tuple[Code, ...]:
    """Returns all codes, those of the kernel rules among them, in order."""
    return tuple(sorted((*CODES, *_of_kernels()), key=lambda code: code.code))


def code_of(name: str) -> Code | None:
    """Returns the entry for a code or a slug."""
    return _by_name().get(name) or _kernels_by_name().get(name)


def prevents(found: Diagnostic) -> bool:
    """Tells whether nothing can be planned while this finding stands, so that nobody may switch it off."""
    if found.severity is not Severity.ERROR:
        return False
    code = code_of(found.code)
    return code is None or not code.switchable


@cache
def _by_name() -> dict[str, Code]:
    return {name: code for code in CODES for name in (code.code, code.slug)}


@cache
def _kernels_by_name() -> dict[str, Code]:
    return {name: code for code in _of_kernels() for name in (code.code, code.slug)}


def _of_kernels() -> tuple[Code, ...]:
    from compiler.rules.kernels.registry import RULES  # slow to import, and rarely needed

    return tuple(
        Code(rule.code, rule.slug, rule.severity, rule.title, rule.limit.why,
             f"Keep to it: {rule.limit.requirement}.", rule.sources)
        for rule in RULES
    )  # fmt: skip


def finding(
    slug: str,
    message: str,
    place: Place | None,
    *,
    why: str = "",
    fix: str = "",
    severity: Severity | None = None,
) -> Diagnostic:
    """Makes a diagnostic; severity, ``why`` and ``fix`` are the code's own where none are given."""
    code = _by_name()[slug]
    return Diagnostic(code.code, severity or code.severity, message, place, why or code.why, fix or code.fix)
