cd "$FLARE_OUTPUTS"
while mkdir deeper && cd -P deeper; do :; done
sleep 100000
