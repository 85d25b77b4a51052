"""An apply in dicts and lists: what the one on disk is held against. It is the code of the time when all records stood in memory."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping

from airflow_bulk.extract_load.applying import Applied, BadAnswer, OutsideScope
from airflow_bulk.extract_load.deletions import check_limit
from airflow_bulk.extract_load.planning import scope_of
from airflow_bulk.extract_load.transforming import MappingFailed, key_of, made_records


def text(value):
    return None if value is None or value == "" else str(value)


def wanted_in_memory(load, mapping, extracted):
    """Key -> (record, references, origin)."""
    wanted = {}
    for name, records in extracted.items():
        for number, source, record in made_records(load, mapping, name, records):
            fields = mapping.match_fields
            source_id = source.get(mapping.source_id)
            told = ""
            if len(fields) == 1 and fields[0] not in record:
                record[fields[0]] = source_id
                told = f" (filled from the field {mapping.source_id}, source_id)"
            if (key := key_of(record, fields)) is None:
                raise MappingFailed(
                    f"load {load}: record {number} of extract {name} has no value in {', '.join(fields)}{told}, so it could"
                    " never be found again"
                )
            references = {one: text(record.pop(one)) for one in mapping.references if one in record}
            origin = (name, text(source_id) or repr(number))
            if key in wanted and wanted[key][2] != origin:
                raise MappingFailed(
                    f"load {load}: record {number} of extract {name} has the same {', '.join(fields)} as another record from"
                    f" {wanted[key][2][0]}: name more fields in match_on"
                )
            wanted[key] = (record, references, origin)
    return wanted


def check_scope(load, mapping, wanted):
    if isinstance(mapping.scope, Mapping):
        in_scope = scope_of(mapping)
        if outside := sum(not in_scope(record) for record, _, _ in wanted.values()):
            raise MappingFailed(
                f"load {load}: {outside} of {len(wanted)} records that the mapping makes are outside its own scope"
                f" ({', '.join(mapping.scope)}); the next run would not find them and create them again"
            )


class PlanInMemory:
    """All changes of one apply."""

    def __init__(self, load, mapping, wanted, current, tables, *, deleting):
        self.creates, self.updates, self.unchanged = [], [], []
        self.existing = self.out_of_scope = self.unresolved = 0
        in_scope = scope_of(mapping)
        unmatched, own = defaultdict(deque), {}
        for record in current:
            if not in_scope(record):
                self.out_of_scope += 1
                continue
            self.existing += 1
            key = key_of(record, mapping.match_fields)
            unmatched[key].append(record)
            if key is not None:
                own.setdefault(key[0], record.get("id"))
        check_scope(load, mapping, wanted)
        to_come = {key[0] for key in wanted}
        if deleting:
            own = {source_id: record_id for source_id, record_id in own.items() if source_id in to_come}
        known = {name: dict(reversed(list(ids))) for name, ids in tables.items()} | {load: own}
        for key, (record, references, _) in wanted.items():
            resolved, pending = self._resolve(load, mapping, record, references, known, to_come)
            if not unmatched.get(key):
                self.creates.append((resolved, pending))
                continue
            for name in mapping.match_fields:
                resolved.pop(name, None)
            current = unmatched[key].popleft()
            differs = any(current.get(name) != value for name, value in resolved.items())
            (self.updates if differs else self.unchanged).append((resolved, current, pending))
        self.orphans = [record for records in unmatched.values() for record in records]

    def _resolve(self, load, mapping, record, references, known, to_come):
        resolved, pending = dict(record), {}
        for name, source_id in references.items():
            target = mapping.references[name]
            if source_id is None:
                resolved[name] = None
            elif (found := known.get(target, {}).get(source_id)) is not None:
                resolved[name] = found
            elif target == load and source_id in to_come:
                pending[name] = source_id
            else:
                resolved[name] = None
                self.unresolved += 1
        return resolved, pending


class WriterInMemory:
    """Writes a plan, record by record."""

    def __init__(self, load, mapping, destination):
        self._load, self._mapping, self._destination = load, mapping, destination
        self.done = Applied()
        self.pending, self.records = [], []

    def write(self, plan, limit, refused):
        """Return the counts and the records."""
        if refused is None:
            check_limit(self._load, limit, len(plan.orphans), plan.existing)
        done = self.done
        done.unchanged, done.out_of_scope = len(plan.unchanged), plan.out_of_scope
        done.unresolved_references = plan.unresolved
        done.deletions_refused = refused if plan.orphans else None
        self.pending = [(current, pending) for _, current, pending in plan.unchanged if pending]
        self.records = [current for _, current, pending in plan.unchanged if not pending]
        for wanted, current, pending in plan.updates:
            stored = self._update(current, wanted)
            done.updated += 1
            self._sort(stored, pending)
        for wanted, pending in plan.creates:
            self._sort(self._create(wanted), pending)
        if refused is None or not plan.orphans:
            for record in plan.orphans:
                self._destination.delete(self._load, record["id"])
                done.deleted += 1
        else:
            done.kept_orphans = done.would_delete = len(plan.orphans)
            self.records.extend(plan.orphans)
        self._fix_references()
        return done, self.records

    def _sort(self, record, pending):
        if pending:
            self.pending.append((record, pending))
        else:
            self.records.append(record)

    def _update(self, current, wanted):
        merged = {key: value for key, value in {**current, **wanted}.items() if key != "id"}
        return {**current, **wanted, **self._destination.update(self._load, current["id"], merged)}

    def _create(self, wanted):
        stored = self._destination.create(self._load, wanted)
        self.done.created += 1
        if stored.get("id") in (None, ""):
            raise BadAnswer(f"load {self._load}: a record was created, but the answer names no id")
        if not scope_of(self._mapping)({**wanted, **stored}):
            raise OutsideScope
        return {**wanted, **stored}

    def _fix_references(self):
        name = self._mapping.match_fields[0]
        everything = [*self.records, *(record for record, _ in self.pending)]
        known = {str(record.get(name)): record.get("id") for record in everything}
        for record, pending in self.pending:
            resolved = {field: known.get(source_id) for field, source_id in pending.items()}
            if any(record.get(field) != value for field, value in resolved.items()):
                self.records.append(self._update(record, resolved))
                self.done.second_writes += 1
            else:
                self.records.append(record)
