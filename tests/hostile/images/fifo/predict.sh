in=$(ls "$FLARE_INPUTS"); out="$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
mkfifo "$out"
