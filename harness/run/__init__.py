"""Run cases, judge and store what comes out. Modules are imported by name, so that the gate stays small."""
