i=0
while :; do i=$((i + 1)); : > "$FLARE_OUTPUTS/$i"; done
