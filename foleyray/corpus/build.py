"""From a source to a store, on Ray Data: workers decode blocks of files into Parquet, the driver keeps the books.

Waves never pass through the driver, and a worker holds one block of clips, so a corpus may be larger than memory. The
store appears whole or not at all; interrupted work goes on where it stopped.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from foleyray import __version__
from foleyray.clips import ClipSpec, MelSpec
from foleyray.cluster import connected
from foleyray.config import UserError, fingerprint
from foleyray.corpus import shards
from foleyray.corpus.decode import Outcome
from foleyray.corpus.drafts import drafted
from foleyray.corpus.manifest import Manifest, read_manifest
from foleyray.corpus.rows import Row
from foleyray.corpus.split import assign
from foleyray.corpus.store import FORMAT, Store, StoreCard, open_store
from foleyray.corpus.verdict import Clip, Verdict, judge, refuse
from foleyray.progress import Progress

Plan = dict[int, list[tuple[Row, str]]]
"""Shard number -> its rows, each with the split that it is expected in."""


def build(source: str, out: Path, *, clip: ClipSpec, mel: MelSpec, max_rejected: float, progress: Progress) -> Store:
    """Makes the store at `out`, or opens it at once where it was made of the same listing and for the same clip and mel.

    `source` is a folder per class or a table, local or at a URI that pyarrow reads; in a cluster of several machines it
    and `out` must be reachable from all. Raises UserError for a source that cannot be listed, for an `out` that holds
    anything else, and where more than the share `max_rejected` of the files, or a whole class, cannot be used; the
    reasons then lie in `<out>.rejected.jsonl`.
    """
    _check(clip, mel, max_rejected)
    out = Path(out)
    manifest = read_manifest(source)
    listing = manifest.fingerprint(clip, mel)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        store = _same(_existing(out), manifest, listing, clip, mel)
        progress.say(f"'{out}' already holds this corpus; nothing to do")
        return store
    _refuse_inside(source, out)
    report = out.with_name(f"{out.name}.rejected.jsonl")
    report.unlink(missing_ok=True)
    with drafted(out, listing) as draft:
        plan = plan_shards(manifest, clip, mel)
        _decode(manifest, plan, draft, clip, mel, progress)
        outcomes = shards.read_outcomes(draft)
        verdict = judge(manifest.rows, outcomes, manifest.classes)
        _write_lines(draft / "rejected.jsonl", verdict.rejected)
        try:
            refuse(verdict, max_rejected, str(report))
        except UserError:
            (draft / "rejected.jsonl").replace(report)
            raise
        _finish(draft, plan, outcomes, verdict, _card(verdict, manifest, listing, clip, mel))
    return open_store(out)


def _check(clip: ClipSpec, mel: MelSpec, max_rejected: float) -> None:
    if clip.sample_rate_hz != mel.sample_rate_hz:
        raise UserError(f"the clip has {clip.sample_rate_hz} Hz and the mel {mel.sample_rate_hz} Hz; give both the same rate")
    if clip.num_samples <= mel.padding or mel.frames(clip.num_samples) < 1:
        raise UserError(f"a clip of {clip.seconds:g} s is shorter than one mel window of {mel.fft} samples; make it longer")
    if not 0 <= max_rejected <= 1:
        raise UserError(f"--max-rejected {max_rejected:g} is no share from 0 to 1; for 5 % give 0.05")


def _existing(out: Path) -> Store:
    if not (out / "store.json").exists():
        raise UserError(f"'{out}' exists and is no store; choose another folder for the store, or remove it")
    return open_store(out)


def _same(store: Store, manifest: Manifest, listing: str, clip: ClipSpec, mel: MelSpec) -> Store:
    if store.card.listing == listing:
        return store
    if (store.clip, store.mel) != (clip, mel):
        found = "was made with another clip or mel specification"
    else:
        found = f"was made of '{store.card.source}' as it was then, which is not what '{manifest.source}' holds now"
    raise UserError(f"the store '{store.path}' {found}; choose another folder for the new one, or remove the old one")


def _refuse_inside(source: str, out: Path) -> None:
    folder = Path(source).expanduser()
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"'{out}' lies inside the corpus '{source}', where it would be taken for a class; choose a folder outside"
        )


def plan_shards(manifest: Manifest, clip: ClipSpec, mel: MelSpec) -> Plan:
    """Rows by expected split, shuffled by hash inside it: whoever reads part of a split reads a fair sample of it."""
    rows = [row for row in manifest.rows if not row.refused]
    expected = sorted(zip(assign(rows), rows, strict=True), key=lambda item: (item[0], sha256(item[1].id.encode()).digest()))
    size = shards.clips_per_shard(len(rows), clip, mel)
    return {
        number: [(row, split) for split, row in expected[start : start + size]]
        for number, start in enumerate(range(0, len(expected), size))
    }


def _decode(manifest: Manifest, plan: Plan, draft: Path, clip: ClipSpec, mel: MelSpec, progress: Progress) -> None:
    """Decodes the shards that an interrupted call has not left done already."""
    done = shards.done_shards(draft)
    blocks = [shards.block_of(number, *zip(*members, strict=True)) for number, members in plan.items() if number not in done]
    total = sum(map(len, plan.values()))
    left = sum(block.num_rows for block in blocks)
    rejected = 0
    with progress.begin("decoding", total, "files", done=total - left) as task:
        if not blocks:
            return
        with connected():
            import ray.data

            from foleyray.corpus.engine import num_cores

            dataset = ray.data.from_arrow(blocks).map_batches(
                shards.decode_shard,
                fn_args=(manifest.filesystem, draft.absolute(), clip, mel),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(size=min(len(blocks), num_cores())),
                num_cpus=1,
            )
            for counts in dataset.iter_batches(batch_size=None):
                rejected += int(counts["rejected"].sum())
                task.advance(int(counts["clips"].sum()), note=f"{rejected} rejected" if rejected else "")


def _finish(draft: Path, plan: Plan, outcomes: Mapping[str, Outcome], verdict: Verdict, card: StoreCard) -> None:
    """Brings every clip to its final split and leaves the draft as a store."""
    shutil.rmtree(draft / shards.OUTCOMES)
    wanted = {clip.row.id: clip.split for clip in verdict.clips}
    wrong = [
        number
        for number, members in plan.items()
        if any(wanted.get(row.id) != split for row, split in members if not outcomes[row.id].kind)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda number: shards.mend(draft, number, wanted), wrong))
    shards.remove_parts(draft)
    _write_lines(draft / "manifest.jsonl", (_entry(clip, verdict) for clip in verdict.clips))
    (draft / "store.json").write_text(card.model_dump_json(indent=1), encoding="utf-8")


def _entry(clip: Clip, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": clip.row.id,
        "path": clip.row.path,
        "class": verdict.classes.names[clip.row.label],
        "split": clip.split,
        "recording": clip.row.recording or clip.row.path,
        "caption": clip.row.caption,
        **{name: value for name, value in asdict(clip.outcome).items() if name not in ("kind", "reason")},
    }


def _write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as target:
        target.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _card(verdict: Verdict, manifest: Manifest, listing: str, clip: ClipSpec, mel: MelSpec) -> StoreCard:
    sounds = sorted([clip.outcome.hash, clip.row.label, clip.split] for clip in verdict.clips)
    return StoreCard(
        format=FORMAT,
        fingerprint=fingerprint(FORMAT, clip, mel, manifest.classes, sounds),
        listing=listing,
        source=manifest.source,
        clip=clip,
        mel=mel,
        classes=manifest.classes,
        counts=verdict.counts,
        rejected=verdict.kinds,
        warnings=verdict.warnings,
        notes=(*manifest.remarks, *verdict.notes()),
        version=__version__,
    )
