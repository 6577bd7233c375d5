in=$(ls "$FLARE_INPUTS")
(: > "$FLARE_INPUTS/$in") && echo WRITTEN
touch "$FLARE_INPUTS/mine" && echo WRITTEN
exit 3
