package stix_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// An advisory is a note, a playbook a course of action: with the same ids each time, of
// whose documents nothing is told but what they are called and their hash; and whoever
// reads it takes no notice from it.
func TestAdvisories(t *testing.T) {
	var advisories []intel.Stated
	for _, s := range everyKind(t) {
		if s.Notice.Kind == notice.KindAdvisory {
			advisories = append(advisories, s)
		}
	}
	text := write(t, advisories...)
	if again := write(t, advisories...); string(again) != string(text) {
		t.Error("the same advisories give other bytes")
	}
	var bundle struct{ Objects []map[string]any }
	if err := json.Unmarshal(text, &bundle); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	ids := map[any]bool{}
	for _, o := range bundle.Objects {
		count[o["type"].(string)]++
		if ids[o["id"]] {
			t.Errorf("%s is there twice", o["id"])
		}
		ids[o["id"]] = true
		for _, key := range []string{"object_refs", "source_ref", "target_ref", "created_by_ref"} {
			refs, list := o[key].([]any)
			if ref, one := o[key].(string); one {
				refs, list = []any{ref}, true
			}
			if list && (len(refs) == 0 || slices.ContainsFunc(refs, func(ref any) bool { return !ids[ref] })) {
				t.Errorf("%s of %s names what is not there before it: %v", key, o["id"], refs)
			}
		}
	}
	for kind, want := range map[string]int{"note": 2, "course-of-action": 1, "vulnerability": 1, "relationship": 2, "identity": 3, "indicator": 0} {
		if count[kind] != want {
			t.Errorf("%d of %s; want %d", count[kind], kind, want)
		}
	}
	for _, part := range []string{`"abstract":"NetScaler: <b>sessions</b> survive"`, `"content":"End them.\n\nThen patch."`, `"content":"Patch"`,
		`{"source_name":"product","external_id":"cpe:2.3:a:citrix:netscaler:*:*:*:*:*:*:*:*"}`, `"external_id":"sha256:01000000`, `"description":"plan.pdf (application/pdf, 7 bytes)"`,
		`"advice":"hunt","due":"2026-03-01T12:00:01.000Z"`, `"relationship_type":"mitigates"`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("without %s:\n%s", part, text)
		}
	}
	if strings.Contains(string(text), "sha256:02") || strings.Contains(string(text), "chunks") {
		t.Errorf("how a document travels is told:\n%s", text)
	}
	for _, f := range read(t, text) {
		if f.Notice != nil {
			t.Errorf("read again: %+v", f.Notice)
		}
	}
	advisories[0].Retracted = true
	if text := string(write(t, advisories[0])); !strings.Contains(text, `"revoked":true`) {
		t.Errorf("taken back:\n%s", text)
	}
}
